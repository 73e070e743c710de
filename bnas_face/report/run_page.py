"""The curves of one training on a page of its own: loss, learning rate, accuracy, speed and memory over steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnas_face.files import write_text
from bnas_face.report import figures, html, network, numbers, run
from bnas_face.report.network import Chart, Event, Line
from bnas_face.report.run import Row, Run

PAGE_NAME = "run.html"
_MOST_POINTS = 400


@dataclass(frozen=True)
class _Quantity:
    """A column of the log: its names, how an axis and a read-out print it, and whether its axis begins at 0."""

    column: str
    title: str
    axis: str
    label: Callable[[float], str]
    told: Callable[[float], str]
    from_zero: bool = False


_QUANTITIES = (
    _Quantity("loss", "Training loss", "mean since the row before", lambda v: f"{v:.4g}", lambda v: f"loss {v:.4g}"),
    _Quantity(
        "development_accuracy",
        "Development accuracy",
        "%, on held-out data",
        lambda v: f"{100 * v:.4g}",
        lambda v: f"development accuracy {100 * v:.2f} %",
    ),
    _Quantity(
        "lr", "Learning rate", "in thousandths", lambda v: f"{1000 * v:.4g}", lambda v: f"learning rate {v:.4g}", True
    ),
    _Quantity("images_per_s", "Speed", "images/s", lambda v: f"{v:.4g}", lambda v: f"{v:.1f} images/s", True),
    _Quantity("memory_mb", "Main memory", "MB", lambda v: f"{v:.4g}", lambda v: f"{v:.0f} MB", True),
    _Quantity("gpu_memory_mb", "GPU memory", "MB, at most so far", lambda v: f"{v:.4g}", lambda v: f"{v:.0f} MB", True),
)


def write(found: Run, target: Path) -> Path:
    """Write the page of a run; returns its path."""
    write_text(target, render(found))
    return target


def render(found: Run) -> str:
    """The page as text."""
    drawn = charts(found)
    script = html.template("report.js")
    data = {
        "models": [],
        "twins": [],
        "curves": {f"{chart.kind}-{line.model}": {"tips": list(line.tips)} for chart in drawn for line in chart.lines},
    }
    return (
        html.environment()
        .get_template("run.html.j2")
        .render(
            run=found,
            state=run.state(found),
            settings=run.of_settings(found),
            progress=run.of_progress(found),
            environment=_environment(found),
            charts=drawn,
            missing=[q.title.lower() for q in _QUANTITIES[:-1] if q.column not in {chart.kind for chart in drawn}],
            style=html.template("report.css") + html.template("parts.css"),
            script=script,
            script_hash=html.script_hash(script),
            data=html.script_json(data),
            title=f"{found.name} – training",
        )
    )


def charts(found: Run) -> list[Chart]:
    """A chart for every column that was measured."""
    model = found.config["model"]
    is_float = model.get("binarizer", "none") == "none"
    mark = figures.mark_of(32 if is_float else 1, int(model.get("activation_bits", 32)))
    if not found.rows:
        return []
    x = figures.Scale(0.0, max(1.0, float(found.rows[-1].step)), float)
    events = _events(found, x)
    drawn = (_chart(quantity, found.points(quantity.column), x, mark, events) for quantity in _QUANTITIES)
    return [chart for chart in drawn if chart is not None]


def _events(found: Run, x: figures.Scale) -> tuple[Event, ...]:
    stage = found.second_stage
    return (
        *(Event(x.at(step), "interruption") for step in sorted(set(found.interruptions))),
        *(() if stage is None else (Event(x.at(stage), "stage"),)),
    )


def _chart(
    quantity: _Quantity,
    points: list[tuple[Row, float]],
    x: figures.Scale,
    mark: figures.Mark,
    events: tuple[Event, ...],
) -> Chart | None:
    values = [value for _, value in points]
    y = network.scale_of([0.0, *values] if quantity.from_zero and values else values, 0.07, 0.01)
    if y is None:
        return None
    y = figures.Scale(0.0, y.high, float) if quantity.from_zero else y
    steps = [step for step in figures.round_steps(x.low, x.high, 5) if step == round(step)]
    rungs = figures.round_steps(y.low, y.high, 5)
    return Chart(
        kind=quantity.column,
        title=quantity.title,
        axis=quantity.axis,
        x_ticks=x.ticks(steps, steps, lambda step: numbers.count(round(step))),
        y_ticks=y.ticks(rungs, rungs, quantity.label),
        lines=(_line(quantity, _thinned(points), x, y, mark),),
        events=events,
    )


def _thinned(points: Sequence[tuple[Row, float]]) -> Sequence[tuple[Row, float]]:
    if len(points) <= _MOST_POINTS:
        return points
    return [*points[:: len(points) // (_MOST_POINTS // 2)], points[-1]]


def _line(
    quantity: _Quantity,
    points: Sequence[tuple[Row, float]],
    x: figures.Scale,
    y: figures.Scale,
    mark: figures.Mark,
) -> Line:
    at = [(x.at(row.step), round(100 - y.at(value), 2)) for row, value in points]
    told = [quantity.told(value) for _, value in points]
    when = [f"step {numbers.count(row.step)}, epoch {row.epoch}" for row, _ in points]
    return Line(
        model=0,
        mark=mark,
        path="M" + "L".join(f"{u:g} {v:g}" for u, v in at),
        x=at[-1][0],
        y=at[-1][1],
        tips=tuple(f"{moment}\n{words}" for moment, words in zip(when, told, strict=True)),
        told=f"{told[0]} at {when[0]}; {told[-1]} at {when[-1]}",
    )


def _environment(found: Run) -> list[tuple[str, str]]:
    """What it was trained on, where ``environment.json`` tells."""
    known = found.environment
    facts = [(name, str(known[name])) for name in ("cpu", "device_name", "threads", "world_size") if known.get(name)]
    versions = known.get("versions")
    return facts + ([(name, str(text)) for name, text in versions.items()] if isinstance(versions, dict) else [])
