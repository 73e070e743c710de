"""A result.json that lacks something is refused in one sentence that names the file and the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bnas_face.cli.report import command
from bnas_face.errors import ReportError
from bnas_face.report import html, results

Content = dict[str, Any]


def _drop(*path: str | int) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        at: Any = content
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


def _set(value: Any, *path: str | int) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        at: Any = content
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_drop("models"), "lacks the field 'models'"),
        (_drop("results", 3, "accuracy", "value"), "lacks the field 'results[3].accuracy.value'"),
        (_drop("protocols", 1, "n_pairs"), "lacks the field 'protocols[1].n_pairs'"),
        (_drop("comparisons", 0, "ci_low"), "lacks the field 'comparisons[0].ci_low'"),
        (_set("many", "protocols", 0, "n_pairs"), "holds 'many' in 'protocols[0].n_pairs', expected a whole number"),
        (_set(-1, "results", 0, "n_failed"), "holds -1 in 'results[0].n_failed'"),
        (_set(float("nan"), "results", 0, "auc", "value"), "cannot be read: NaN is no JSON number"),
        (_set(True, "results", 0, "auc", "value"), "holds True in 'results[0].auc.value'"),
        (_set("nobody", "results", 0, "model"), "names the unknown model 'nobody' in 'results[0].model'"),
        (_set("nowhere", "comparisons", 0, "protocol"), "names the unknown protocol 'nowhere'"),
        (_set([0.1], "results", 0, "curve", "fmr"), "points in 'results[0].curve', expected equal counts"),
        (_set([1], "results", 0, "histogram", "genuine"), "edges for 1 and"),
        (_set({}, "results"), "holds {} in 'results', expected a list"),
        (_set(99.3, "results", 0, "accuracy", "value"), "holds 99.3 in 'results[0].accuracy.value', expected a frac"),
        (_set(-0.1, "results", 0, "curve", "fmr", 3), "holds -0.1 in 'results[0].curve.fmr[3]', expected a fraction"),
        (_set(-12.5, "comparisons", 0, "difference"), "expected a fraction between -1 and 1"),
        (_set(1.5, "comparisons", 0, "p_holm"), "holds 1.5 in 'comparisons[0].p_holm'"),
        (_set("false", "results", 0, "failures", 0, "is_genuine"), "expected true or false"),
        (_set("lfw-float", "models", 1, "id"), "holds 'lfw-float' twice in 'models', expected different names"),
        (_set("cfp_ff", "protocols", 1, "name"), "holds 'cfp_ff' twice in 'protocols'"),
        (_set("bnas_face.result/9", "schema"), "has the schema 'bnas_face.result/9'"),
    ],
)
def test_a_missing_or_wrong_field_is_named(
    change: Callable[[Content], None], expected: str, content: Content, save_report: Callable[..., Path]
) -> None:
    change(content)
    folder = save_report(content)
    with pytest.raises(ReportError) as error:
        results.load(folder)
    assert expected in str(error.value)
    assert str(folder / "result.json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 3}', "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")]
)
def test_damaged_json_is_one_clear_error(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ReportError, match=r"result\.json"):
        results.load(tmp_path)


def test_pairs_of_another_evaluation_are_refused(report_folder: Path) -> None:
    file = report_folder / "pairs.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:1500]))
    with pytest.raises(ReportError, match=r"pairs\.csv' holds 499 pairs of 'lfw-xnor' on 'cfp_ff', .* counts 1,000"):
        html.write(report_folder)
    file.unlink()
    html.write(report_folder)


def test_a_folder_without_result_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="bnasface eval --out"):
        results.load(tmp_path)


def test_every_scalar_of_the_file_may_be_damaged_without_a_traceback(content: Content, tmp_path: Path) -> None:
    """Each value in turn becomes a list: either the page does not need it, or the error is ours."""
    content["results"], content["comparisons"] = content["results"][:2], content["comparisons"][:1]
    for entry in content["results"]:
        entry["failures"] = entry["failures"][:1]
        for key in ("threshold", "fmr", "fnmr"):
            entry["curve"][key] = entry["curve"][key][::40]
        entry["histogram"] = None
    paths = list(_paths(content))
    assert len(paths) > 200
    refused = 0
    for path in paths:
        damaged = json.loads(json.dumps(content))
        _set([[]], *path)(damaged)
        (tmp_path / "result.json").write_text(json.dumps(damaged))
        try:
            result = results.load(tmp_path)
        except ReportError:
            refused += 1
        else:
            html.render(result, None, tmp_path) if path[0] not in ("results", "models", "protocols") else None
    assert refused > 100


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(member, (*path, key))
    else:
        yield path


def test_the_command_writes_page_and_tables_and_names_the_page(report_folder: Path) -> None:
    answer = CliRunner().invoke(command, [str(report_folder)], catch_exceptions=False)
    assert answer.exit_code == 0
    size = (report_folder / "report.html").stat().st_size / 1e6
    assert answer.output == f"{report_folder / 'report.html'} ({size:.2f} MB, opens without network)\n"
    assert {"report.html", "tables.md", "tables.tex"} <= {file.name for file in report_folder.iterdir()}


def test_a_damaged_result_leaves_the_earlier_page_and_ends_with_code_1(report_folder: Path) -> None:
    html.write(report_folder)
    before = (report_folder / "report.html").read_bytes()
    (report_folder / "result.json").write_text('{"schema": "bnas_face.result/1"}')
    answer = CliRunner().invoke(command, [str(report_folder)])
    assert isinstance(answer.exception, ReportError)
    assert answer.exception.exit_code == 1
    assert (report_folder / "report.html").read_bytes() == before
