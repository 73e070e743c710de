"""Which elementary nodes one operation can do in one pass over its output."""

from __future__ import annotations

from collections import Counter

from bnas_face.packed.lowering import Node

SUMS = ("convolution", "average_pool", "max_pool")
FOLDED = (*SUMS, "norm", "add")


class Chain:
    """What one operation does: a base, then a batch norm, an addition and an activation, each or none of them.

    Read backwards from its last node. Nothing else may need what lies between: every node but the last has one user.

    Parameters
    ----------
    node : Node
        The last.
    n_uses : Counter
        Users of every node, by ``id``.

    Attributes
    ----------
    base : Node or None
        One of `SUMS`; None for an elementwise operation.
    operands : list of Node
        Whose floats an elementwise operation adds up.
    norm, activation : Node or None
    way : Node or None
        What is added between the two, a shortcut or any other map; convolutions only.
    """

    def __init__(self, node: Node, n_uses: Counter[int]) -> None:
        self._n_uses = n_uses
        self.base: Node | None = None
        self.operands: list[Node] = []
        self.norm: Node | None = None
        self.way: Node | None = None
        self.activation: Node | None = None
        at: Node | None = node
        if node.kind == "activation":
            self.activation, at = node, self._input(node)
        if at is not None and at.kind == "add":
            at = self._joined(at)
        if at is not None and at.kind == "norm":
            self.norm, at = at, self._input(at)
        if at is not None and at.kind == "add":  # norm(a + b)
            self.operands, at = at.inputs, None
        self.base = at

    def _input(self, node: Node) -> Node | None:
        """The input of `node`, if it can be part of the chain; else it is the chain's operand."""
        source = node.inputs[0]
        if source.kind in FOLDED and self._n_uses[id(source)] == 1:
            return source
        self.operands = [source]
        return None

    def _joined(self, add: Node) -> Node | None:
        """The operand of an addition that a convolution makes; without one, both are operands of the chain."""
        first, second = add.inputs
        for inner, way in ((first, second), (second, first)):
            if self._is_convolved(inner):
                self.way = way
                return inner
        self.operands = add.inputs
        return None

    def _is_convolved(self, node: Node) -> bool:
        """Whether it is a convolution, or its batch norm, that nobody else uses."""
        sole = self._n_uses[id(node)] == 1
        if node.kind == "norm":
            return sole and self._is_convolved(node.inputs[0])
        return sole and node.kind == "convolution"
