"""The tables of a report, once as rows and then as Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bnas_face.report import best, network, numbers, slices
from bnas_face.report.figures import Mark
from bnas_face.report.identification import Identification, OpenSet, Rank
from bnas_face.report.records import Comparison, Model, Outcome, Protocol, Result, Tar
from bnas_face.report.verdict import p_decisive


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model on a protocol, beside the gap to its full-precision twin where it has one."""

    index: int
    model: Model
    protocol: Protocol
    mark: Mark
    outcome: Outcome
    comparison: Comparison | None
    best: frozenset[str] = frozenset()

    def star(self, column: str) -> str:
        """A mark before a number that is significantly the best of its column."""
        return "★ " if column in self.best else ""

    @property
    def n(self) -> int:
        """Pairs, or images, that were decided on."""
        return self.outcome.n

    @property
    def p_value(self) -> float | None:
        """The p-value that decides about the gap, or None."""
        return p_decisive(self.comparison) if self.comparison else None


@dataclass(frozen=True, kw_only=True)
class TarRow:
    """TAR of a model on a protocol at one FMR target."""

    row: Row
    tar: Tar


def rows(result: Result, marks: Sequence[Mark]) -> list[Row]:
    """Comparison rows: by protocol; each full-precision twin is followed by its binarized models."""
    order = {name: place for place, name in enumerate(_families(result.models))}
    index = {model.id: place for place, model in enumerate(result.models)}
    marked = best.marked(result)
    gaps = {(comparison.protocol, comparison.model): comparison for comparison in result.comparisons}
    found = []
    for protocol in result.protocols:
        entries = [entry for entry in result.outcomes if entry.protocol == protocol.name]
        for entry in sorted(entries, key=lambda entry: order[entry.model]):
            place, key = index[entry.model], (entry.protocol, entry.model)
            found.append(
                Row(
                    index=place,
                    model=result.models[place],
                    protocol=protocol,
                    mark=marks[place],
                    outcome=entry,
                    comparison=gaps.get((entry.protocol, entry.model)),
                    best=frozenset(c for protocol, model, c in marked if (protocol, model) == key),
                )
            )
    return found


def of_faces(found: Sequence[Row]) -> list[Row]:
    """The rows of verification."""
    return [row for row in found if not row.outcome.is_of_objects]


def of_objects(found: Sequence[Row]) -> list[Row]:
    """The rows of object recognition."""
    return [row for row in found if row.outcome.is_of_objects]


def tar_rows(found: Sequence[Row]) -> list[TarRow]:
    """One row per protocol, model and FMR target."""
    return [TarRow(row=row, tar=tar) for row in found for tar in row.outcome.tar_at_fmr]


def _families(models: Sequence[Model]) -> list[str]:
    """Model ids, each followed by the models whose twin it is; models without a relation in their own order."""
    known = {model.id for model in models}
    heads = [model.id for model in models if model.twin not in known or model.twin == model.id]
    ordered = [name for head in heads for name in [head, *(m.id for m in models if m.twin == head and m.id != head)]]
    ordered = list(dict.fromkeys(ordered))
    return ordered + [model.id for model in models if model.id not in ordered]


UNSEEN = "Unseen %"
COMPARISON_HEAD = (
    "Protocol", "Model", "Bits", "Accuracy %", "± std", "95 % interval", UNSEEN, "Twin", "Gap, points",
    "Interval of the gap", "p", "EER %", "AUC", "Parameters", "File",
)  # fmt: skip
OBJECT_HEAD = (
    "Protocol", "Model", "Bits", "Top-1 %", "95 % interval", "Top-5 %", "95 % interval", "Twin", "Gap, points",
    "Interval of the gap", "p", "Parameters", "File",
)  # fmt: skip
TAR_HEAD = (
    "Protocol",
    "Model",
    "Bits",
    "FMR target",
    "TAR %",
    "95 % interval",
    "FMR achieved %",
    "False matches",
    "Threshold",
)


SLICE_HEAD = (
    "Protocol", "Group", "Model", "Genuine", "Impostor", "FMR %", "95 % interval", "FNMR %", "95 % interval",
)  # fmt: skip
LAYER_HEAD = ("Model", "Bits", "Layers of kind", "Layers", "Parameters", "Packed bytes", "Multiply-accumulates")
GALLERY_HEAD = ("Protocol", "Model", "Measure", "%", "95 % interval", "FPIR achieved %", "False positives", "Threshold")


def comparison_cells(row: Row) -> list[str]:
    """The cells of a row under `COMPARISON_HEAD`."""
    outcome, gap = row.outcome, row.comparison.difference if row.comparison else None
    unseen = outcome.without_overlap
    return [
        row.protocol.title,
        row.model.id,
        row.mark.bits,
        row.star("accuracy") + numbers.percent(outcome.accuracy.value, row.n),
        numbers.percent(outcome.accuracy_std, row.n),
        numbers.span(outcome.accuracy.low, outcome.accuracy.high, row.n),
        numbers.percent(unseen.accuracy.value, unseen.n_pairs) if unseen else numbers.MISSING,
        row.comparison.twin if row.comparison else numbers.MISSING,
        numbers.points(gap.value, row.n) if gap else numbers.MISSING,
        numbers.points_span(gap.low, gap.high, row.n) if gap else numbers.MISSING,
        numbers.p_value(row.p_value),
        row.star("eer") + numbers.percent(outcome.eer.value, row.n),
        row.star("auc") + numbers.area(outcome.auc.value, row.n),
        numbers.short_count(row.model.n_parameters),
        numbers.file_size(row.model.file_bytes),
    ]


def object_cells(row: Row) -> list[str]:
    """The cells of a row of object recognition under `OBJECT_HEAD`."""
    gap = row.comparison.difference if row.comparison else None
    cells = [row.protocol.title, row.model.id, row.mark.bits]
    for name, top in (("top1", row.outcome.top1), ("top5", row.outcome.top5)):
        shown = (
            [row.star(name) + numbers.percent(top.value, row.n), numbers.span(top.low, top.high, row.n)] if top else []
        )
        cells += shown or ["", ""]
    return [
        *cells,
        row.comparison.twin if row.comparison else numbers.MISSING,
        numbers.points(gap.value, row.n) if gap else numbers.MISSING,
        numbers.points_span(gap.low, gap.high, row.n) if gap else numbers.MISSING,
        numbers.p_value(row.p_value),
        numbers.short_count(row.model.n_parameters),
        numbers.file_size(row.model.file_bytes),
    ]


def tar_cells(entry: TarRow) -> list[str]:
    """The cells of a row under `TAR_HEAD`."""
    tar, outcome = entry.tar, entry.row.outcome
    refused = tar.refused is not None
    matches = numbers.MISSING if tar.n_false_matches is None else f"{tar.n_false_matches:,} of {outcome.n_impostor:,}"
    return [
        entry.row.protocol.title,
        entry.row.model.id,
        entry.row.mark.bits,
        numbers.fmr_target(tar.fmr_target),
        "insufficient data" if refused else numbers.percent(tar.tar.value, outcome.n_genuine),
        numbers.span(tar.tar.low, tar.tar.high, outcome.n_genuine),
        numbers.rate(tar.fmr_achieved, outcome.n_impostor),
        matches,
        numbers.score(tar.threshold),
    ]


def slice_cells(result: Result, marks: Sequence[Mark]) -> list[list[str]]:
    """Cells under `SLICE_HEAD`: one row per protocol, group and model, as the page shows them."""
    return [
        [
            table.protocol.title,
            f"{table.column}: {part.label}" + (f" ({part.small})" if part.small else ""),
            result.models[line.model].id,
            numbers.count(part.n_genuine),
            numbers.count(part.n_impostor),
            line.fmr.rate,
            line.fmr.span,
            line.fnmr.rate,
            line.fnmr.span,
        ]
        for table in slices.tables(result, marks)
        for part in table.parts
        for line in part.lines
    ]


def gallery_cells(result: Result) -> list[list[str]]:
    """Cells under `GALLERY_HEAD`: one row per protocol, model and rank or FPIR target."""
    titles = {protocol.name: protocol.title for protocol in result.protocols}
    return [
        [titles[one.protocol], one.model, *cells]
        for one in result.identifications
        for cells in (*(_rank_cells(rank, one) for rank in one.ranks), *(_open_cells(o, one) for o in one.open_set))
    ]


def _rank_cells(rank: Rank, one: Identification) -> list[str]:
    share = rank.share
    shown = [numbers.percent(share.value, one.n_mated), numbers.span(share.low, share.high, one.n_mated)]
    return [f"rank {rank.rank}", *shown, *[numbers.MISSING] * 3]


def _open_cells(found: OpenSet, one: Identification) -> list[str]:
    refused, tpir = found.refused is not None, found.tpir
    positives = found.n_false_positives
    return [
        f"TPIR at FPIR {numbers.fmr_target(found.fpir_target)}",
        "insufficient data" if refused else numbers.percent(tpir.value, one.n_mated),
        numbers.span(tpir.low, tpir.high, one.n_mated),
        numbers.rate(found.fpir_achieved, one.n_nonmated),
        numbers.MISSING if positives is None else f"{positives:,} of {one.n_nonmated:,}",
        numbers.score(found.threshold),
    ]


def layer_cells(result: Result, marks: Sequence[Mark]) -> list[list[str]]:
    """Cells under `LAYER_HEAD`: one row per network and kind of layer, and its total."""
    return [
        [
            ", ".join(result.models[place].id for place in table.models),
            ", ".join(dict.fromkeys(marks[place].bits for place in table.models)),
            layer.kind,
            *(numbers.count(n) for n in (layer.n_layers, layer.n_parameters, layer.packed_bytes, layer.n_macs)),
        ]
        for family in network.families(result, marks)
        for table in family.tables
        for layer in (*table.rows, table.total)
    ]


def _comparisons(faces: Sequence[Row]) -> tuple[Sequence[str], list[list[str]]]:
    """Heads and cells of the comparison; without the column of unseen people where no model has such a number."""
    left_out = {COMPARISON_HEAD.index(UNSEEN)} if not any(row.outcome.without_overlap for row in faces) else set()
    lines = [COMPARISON_HEAD, *(comparison_cells(row) for row in faces)]
    head, *cells = ([cell for place, cell in enumerate(line) if place not in left_out] for line in lines)
    return head, cells


def notes(found: Sequence[Row]) -> list[str]:
    """Sentences that name the convention, the ± and the intervals of the tables."""
    if not found:
        return []
    stamps = sorted({row.outcome.convention_stamp or row.outcome.convention for row in found})
    known = [row.outcome.accuracy for row in found if row.outcome.accuracy.value is not None]
    reasons = sorted({row.outcome.accuracy.reason for row in found if row.outcome.accuracy.value is None} - {""})
    methods = sorted({accuracy.method for accuracy in known} - {""})
    gaps = sorted({row.comparison.difference.method for row in found if row.comparison} - {""})
    tests = sorted({row.comparison.p_method for row in found if row.comparison} - {""})
    text = [
        *(f"Convention {stamp.rstrip('.')}." for stamp in stamps),
    ]
    text += [f"No accuracy where it is a dash: {reason.rstrip('.')}." for reason in reasons]
    if of_faces(found) and known:
        text.append(
            "Accuracy is the mean over the folds; ± is their standard deviation (ddof 0), not a standard error."
        )
    if methods:
        what = "the accuracy" if of_faces(found) else "top-1 and top-5"
        text.append(f"Interval of {what}: {', '.join(methods)}.")
    if gaps:
        text.append(f"Gap = binarized − full-precision twin, in percentage points; its interval: {', '.join(gaps)}.")
    if tests:
        corrected = all(row.comparison.p_holm is not None for row in found if row.comparison)
        over = "Holm-corrected over all comparisons of this report" if corrected else "not corrected for their number"
        text.append(f"p: {', '.join(tests)}, {over}.")
    return text


def _tables(result: Result, marks: Sequence[Mark]) -> tuple[list[tuple[Sequence[str], list[list[str]]]], list[str]]:
    """Heads and cells of all tables, and the notes below the first two."""
    found = rows(result, marks)
    faces, objects = of_faces(found), of_objects(found)
    cells: list[tuple[Sequence[str], list[list[str]]]] = [
        _comparisons(faces),
        (OBJECT_HEAD, [object_cells(row) for row in objects]),
        (TAR_HEAD, [tar_cells(entry) for entry in tar_rows(faces)]),
        (SLICE_HEAD, slice_cells(result, marks)),
        (GALLERY_HEAD, gallery_cells(result)),
        (LAYER_HEAD, layer_cells(result, marks)),
    ]
    more = [best.NOTE] if any(row.best for row in found) else []
    methods = [row.outcome.without_overlap.method for row in faces if row.outcome.without_overlap]
    more += [f"Unseen: {method}." for method in dict.fromkeys(methods) if method]
    more += [network.PACKED, network.MACS] if cells[-1][1] else []
    return cells, list(dict.fromkeys([*notes(faces), *notes(objects), *more]))


def markdown(result: Result, marks: Sequence[Mark]) -> str:
    """The tables as Markdown (pipes), with the notes between them."""
    cells, text = _tables(result, marks)
    parts = [markdown_table(head, lines) for head, lines in cells]
    parts.insert(2, "\n".join(markdown_text(note) for note in text))
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(result: Result, marks: Sequence[Mark]) -> str:
    """The tables as LaTeX `tabular`s; needs ``\\usepackage{booktabs}``."""
    cells, text = _tables(result, marks)
    parts = ["\n".join("% " + _latex_text(note) for note in text)]
    parts += [latex_table(head, lines) for head, lines in cells]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table of pipes; empty without rows. From the fourth column on it holds numbers."""
    if not cells:
        return ""
    align = ["---" if place < 3 else "---:" for place in range(len(head))]
    lines = [[markdown_text(cell) for cell in line] for line in (head, *cells)]
    lines.insert(1, align)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex_table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A `tabular` with booktabs rules; empty without rows. From the fourth column on it holds numbers."""
    if not cells:
        return ""
    columns = "l" * 3 + "r" * (len(head) - 3)
    body = [" & ".join(_latex_text(cell) for cell in line) + r" \\" for line in cells]
    rules = (r"\toprule", " & ".join(_latex_text(cell) for cell in head) + r" \\", r"\midrule")
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *rules, *body, r"\bottomrule", r"\end{tabular}"])


def _one_line(text: str) -> str:
    """Control characters and line ends become spaces: a name cannot break out of its cell."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)


def markdown_text(text: str) -> str:
    """Text that stays in its cell, whatever it holds."""
    escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", _one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latex_text(text: str) -> str:
    known = {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
        "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "−": "$-$", "±": r"$\pm$",
        "★": r"$\star$", "–": "--", "×": r"$\times$",
    }  # fmt: skip
    return "".join(known.get(character, character) for character in _one_line(text))
