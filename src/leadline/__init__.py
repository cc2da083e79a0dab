"""Leadline: depression severity (PHQ-9, 0-27) estimated from conversation.

What a notebook needs is offered here by name and imported when it is first used, so that
`import leadline` costs nothing; docs/python.md shows the whole course.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from leadline import silence, threads
from leadline.about import NOTICE as NOTICE
from leadline.about import SIMULATED_NOTICE as SIMULATED_NOTICE
from leadline.about import __version__ as __version__

silence.send_nothing()
threads.wait_asleep()

if TYPE_CHECKING:
    from leadline.cohort.store import read_cohort
    from leadline.errors import LeadlineError
    from leadline.evaluate.run_results import evaluate_run
    from leadline.export.export import export_run
    from leadline.importing.importing import import_files
    from leadline.report.run_report import report_run
    from leadline.running.scorer import RunningScorer, TimedMessage
    from leadline.runs.checkpoint import load_ensemble
    from leadline.runs.train import train_run
    from leadline.scoring.score import score_cohort
    from leadline.simulate.cohort import simulate_cohort

__all__ = [
    "LeadlineError",
    "RunningScorer",
    "TimedMessage",
    "evaluate_run",
    "export_run",
    "import_files",
    "load_ensemble",
    "read_cohort",
    "report_run",
    "score_cohort",
    "simulate_cohort",
    "train_run",
]

PLACES = {
    "LeadlineError": "errors",
    "RunningScorer": "running.scorer",
    "TimedMessage": "running.scorer",
    "evaluate_run": "evaluate.run_results",
    "export_run": "export.export",
    "import_files": "importing.importing",
    "load_ensemble": "runs.checkpoint",
    "read_cohort": "cohort.store",
    "report_run": "report.run_report",
    "score_cohort": "scoring.score",
    "simulate_cohort": "simulate.cohort",
    "train_run": "runs.train",
}
"""In which module each name of the face stands."""


def __getattr__(name: str) -> Any:
    """A name of the face, imported when it is asked for (PEP 562)."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
