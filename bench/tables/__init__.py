"""The measured parts of the documents, written from `bench/results`, so that no figure drifts.

A template here has the words around the figures; the figures in words are the `rows` of each
bench. In a page, a part stands between `<!-- bench:NAME:start -->` and `<!-- bench:NAME:end -->`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.common import ROOT, interval, read_result
from bench.protocol import CALL, call_today, load_bench

HERE = Path(__file__).resolve().parent
PARTS = {
    ("README.md", "bench"): "checkins.md.j2",
    ("docs/artefacts.md", "bench:verification"): "verification.md.j2",
    ("docs/cold-start.md", "bench"): "cold_start.md.j2",
    ("docs/evaluation.md", "bench:coverage"): "coverage.md.j2",
    ("docs/leakage.md", "bench:questionnaires"): "questionnaires.md.j2",
    ("docs/evaluation.md", "bench:intervals"): "intervals.md.j2",
    ("docs/evaluation.md", "bench:alarm"): "alarm.md.j2",
    ("docs/paper.md", "bench:cost"): "cost.md.j2",
    ("docs/monitor.md", "bench:monitor"): "monitor.md.j2",
    ("docs/monitor-course.md", "bench:course"): "course.md.j2",
    ("docs/monitor-course.md", "bench:course_simulator"): "course_simulator.md.j2",
    ("docs/monitor-course.md", "bench:course_speed"): "course_speed.md.j2",
    ("docs/profiles.md", "bench:items"): "items.md.j2",
    ("docs/selftraining.md", "bench"): "ablation.md.j2",
    ("docs/selftraining.md", "bench:checkins"): "hidden_labels.md.j2",
    ("docs/simulator.md", "bench:gates"): "gates.md.j2",
    ("docs/teachers.md", "bench:server"): "server.md.j2",
    ("docs/training.md", "bench:gpu"): "gpu.md.j2",
}
PAGE = "bench/README.md"


def rendered_pages() -> dict[Path, str]:
    """Every page that prints figures, as it should read."""
    templates = environment()
    pages: dict[Path, str] = {}
    for (name, mark), template in PARTS.items():
        path = ROOT / name
        page = pages.get(path) or path.read_text(encoding="utf-8")
        pages[path] = with_part(page, mark, templates.get_template(template).render())
    pages[ROOT / PAGE] = templates.get_template("page.md.j2").render()
    return pages


def environment() -> Environment:
    """Templates that can ask a bench for its rows and a result for its figures."""
    templates = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    templates.globals.update(bench=load_bench, result=read_result, call=call, source=source)
    templates.filters.update(interval=interval, result=read_result)
    return templates


def call(name: str, results: dict[str, Any] | None = None, flags: str = "") -> str:
    """How a bench is run: as its results record it, or with these flags."""
    if results is not None:
        return call_today(name, results["command"])
    return " ".join([*CALL, name, *flags.split()])


def source(name: str, results: dict[str, Any]) -> str:
    """Where figures come from: command, machine, date."""
    return f"`{call(name, results)}`, {results['machine']}, {results['date']}"


def with_part(page: str, mark: str, part: str) -> str:
    """A page with what stands between its marks made anew."""
    start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
    head, rest = page.split(start, 1)
    tail = rest.split(end, 1)[1]
    return f"{head}{start}\n{part.strip()}\n{end}{tail}"
