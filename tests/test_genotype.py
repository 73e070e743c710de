"""Genotypes: what is read back equals what was written, and what describes no network is one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face import genotype
from bnas_face.errors import FormatError
from bnas_face.genotype import BNAS_XNOR_1, CELLS, EDGES, OPERATIONS

PAIRS = [("skip_connect", 0), ("max_pool_3x3", 1)] * 4


def json_cell(space: str) -> st.SearchStrategy[list[list[list[object]]]]:
    def edge(node: int) -> st.SearchStrategy[list[object]]:
        return st.tuples(st.sampled_from(OPERATIONS[space]), st.integers(0, node - 1)).map(list)

    return st.tuples(*(st.lists(edge(node), min_size=2, max_size=2) for node in range(2, 6))).map(list)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), space=st.sampled_from(sorted(OPERATIONS)))
def test_every_genotype_survives_json(data: st.DataObject, space: str) -> None:
    cells = {name: data.draw(json_cell(space)) for name in CELLS}
    content = {"schema": genotype.SCHEMA, "space": space, **cells, "origin": {"seed": 3}}
    found = genotype.from_json(content)
    assert json.loads(json.dumps(found.to_json())) == content
    assert genotype.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_genotype_survives_its_file(tmp_path: Path) -> None:
    genotype.save(tmp_path / "a.json", BNAS_XNOR_1)
    assert genotype.load(tmp_path / "a.json") == BNAS_XNOR_1
    assert genotype.load(tmp_path / "a.json").origin == BNAS_XNOR_1.origin


def test_genotypes_are_equal_whatever_their_origin() -> None:
    one = genotype.from_pairs("paper", PAIRS, PAIRS, seed=1)
    two = genotype.from_pairs("paper", PAIRS, PAIRS, seed=2)
    other = genotype.from_pairs("onebit", PAIRS, PAIRS, seed=1)
    assert one == two and one.short_text() == two.short_text()
    assert one != other and one.short_text() != other.short_text()


def test_two_edges_of_a_node_may_share_source_and_operation() -> None:
    pairs = [("max_pool_3x3", 0)] * 8
    found = genotype.from_pairs("paper", pairs, pairs)
    assert found.normal[3] == (genotype.Edge("max_pool_3x3", 0),) * 2


@pytest.mark.parametrize("name", ["bnas_xnor_1", "BNAS_XNOR_1"])
def test_the_released_cell_is_read_by_name(name: str) -> None:
    text = genotype.as_text(genotype.load(name))
    assert "node 2 = skip_connect(1) + dil_conv_3x3(0)" in text
    assert "node 5 = dil_conv_5x5(4) + sep_conv_3x3(2)" in text
    assert "node 5 = skip_connect(2) + dil_conv_3x3(4)" in text


def test_a_cell_has_fourteen_edges_in_order() -> None:
    assert len(EDGES) == 14
    assert EDGES[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert list(EDGES) == sorted(EDGES, key=lambda edge: (edge[1], edge[0]))


def changed(**changes: object) -> dict[str, object]:
    content = json.loads(json.dumps(BNAS_XNOR_1.to_json()))
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    return content


GOOD = [[["skip_connect", 0], ["skip_connect", 1]]] * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has schema 'NoneType'; expected 'bnas_face.genotype/1'"),
        ([], "has schema 'list'"),
        (changed(schema="bnas_face.genotype/9"), "has schema 'bnas_face.genotype/9'"),
        (changed(normal=None), "it lacks normal"),
        (changed(space="papers"), "Search space 'papers' is not known. Known: paper, onebit"),
        (changed(space=["paper"]), "is not known. Known: paper, onebit"),
        (changed(origin="here"), "its origin is 'here'; expected an object"),
        (changed(normal=[]), "normal cell is incomplete: it has 0 nodes"),
        (changed(normal=GOOD[:3]), "incomplete: it has 3 nodes with 2, 2, 2 edges"),
        (changed(reduction=[*GOOD[:3], GOOD[0][:1]]), "reduction cell is incomplete: it has 4 nodes with 2, 2, 2, 1"),
        (changed(normal=[*GOOD[:3], [["conv_9x9", 0], ["skip_connect", 1]]]), "Operation 'conv_9x9' at node 5 of the"),
        (changed(normal=[[["skip_connect", 2], ["skip_connect", 1]], *GOOD[1:]]), "Node 2 of the normal cell reads"),
        (changed(normal=[[["skip_connect", -1], ["skip_connect", 1]], *GOOD[1:]]), "because a cell has no cycles"),
        (changed(normal=[*GOOD[:3], [["skip_connect", 5], ["skip_connect", 1]]]), "it can read nodes 0 to 4 only"),
        (changed(normal=[*GOOD[:3], [["a\nb\x1b[31m" + "c" * 999, 0], ["skip_connect", 1]]]), "Operation 'a b"),
        (changed(normal="skip"), "The normal cell is 'skip'; expected a list of 4 nodes"),
        (changed(normal=7), "The normal cell is '7'"),
        (changed(normal=[*GOOD[:3], ["ab", "cd"]]), "An edge of the normal cell is 'ab'"),
        (changed(normal=[*GOOD[:3], [["skip_connect", True], ["skip_connect", 1]]]), r"is '\['skip_connect', True\]'"),
        (changed(normal=[*GOOD[:3], [["skip_connect"], ["skip_connect", 1]]]), r"is '\['skip_connect'\]'; expected"),
        (changed(normal=[*GOOD[:3], [{"a": 1}, ["skip_connect", 1]]]), "expected \\['operation', source node\\]"),
    ],
)
def test_what_describes_no_network_is_one_sentence(content: object, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        genotype.from_json(content, "mine.json")
    assert "'mine.json'" in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(OPERATIONS["paper"]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    )
)
@settings(max_examples=50, deadline=None)
def test_any_other_json_in_place_of_a_cell_is_a_format_error(cell: object) -> None:
    with pytest.raises(FormatError):
        genotype.from_json({**BNAS_XNOR_1.to_json(), "normal": cell})


@pytest.mark.parametrize("pairs", [[("skip_connect",)] * 8, [3] * 8, PAIRS[:7], [("skip_connect", "0")] * 8])
def test_wrong_pairs_are_refused(pairs: list[object]) -> None:
    with pytest.raises(FormatError, match="cell is"):
        genotype.from_pairs("paper", pairs, PAIRS)


def test_a_damaged_file_names_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": ')
    with pytest.raises(FormatError, match="damaged JSON at line 1, column 12"):
        genotype.load(tmp_path / "a.json")


def test_neither_a_file_nor_a_name_says_what_there_is() -> None:
    with pytest.raises(FormatError, match=r"'bnas_xnor_2' is neither a genotype file nor a published .*bnas_xnor_1"):
        genotype.load("bnas_xnor_2")
