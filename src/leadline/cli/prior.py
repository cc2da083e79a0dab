"""Verbs of the first day: a run without a label, and whose labels to get first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leadline.about import NO_LABEL, NOTICE
from leadline.cli.flags import JSON, OUT, OVERWRITE, path_argument, say, settings, show_json

if TYPE_CHECKING:
    from leadline.cohort.config import WindowConfig
    from leadline.runs.prior import PriorConfig
    from leadline.scoring.next_labels import AskConfig


def build_prior() -> click.Command:
    """The verb `prior`."""
    from leadline.cohort.config import WindowConfig
    from leadline.runs.prior import PriorConfig

    @click.command("prior")
    @OUT
    @click.option("--on", type=click.Path(path_type=Path),
                  help="A cohort whose people's words set the scale of the ranking; their PHQ-9s "
                  "are not looked at. Without it simulated people do: a guess.")  # fmt: skip
    @settings(PriorConfig, WindowConfig)
    @OVERWRITE
    @JSON
    def prior(
        config: PriorConfig,
        window: WindowConfig,
        on: Path | None,
        out: Path,
        overwrite: bool,
        as_json: bool,
    ) -> None:
        """Write a run that has seen no label (docs/cold-start.md).

        Statements of absence and presence of each symptom rank what people write; the totals are
        those of a population that is assumed. Every verb that takes a run takes it, and says that
        no label was seen.
        """
        from leadline.cohort.store import read_cohort
        from leadline.runs.prior import prior_run

        people = None if on is None else read_cohort(on)
        manifest = prior_run(out, config, window, on=people, overwrite=overwrite)
        if as_json:
            show_json({**manifest, "no_label_seen": True, "notice": NOTICE})
            return
        for name, fact in manifest["training"].items():
            click.echo(f"{name}: {fact}")
        say(NOTICE)

    return prior


def build_ask() -> click.Command:
    """The verb `ask`."""
    from leadline.scoring.next_labels import AskConfig

    @click.command("ask")
    @path_argument("cohort")
    @click.option("--run", required=True, type=click.Path(path_type=Path),
                  help="A run of prior, or of train --prior.")  # fmt: skip
    @OUT
    @settings(AskConfig)
    @OVERWRITE
    @JSON
    def ask(
        config: AskConfig, cohort: Path, run: Path, out: Path, overwrite: bool, as_json: bool
    ) -> None:
        """Write whom of COHORT to ask for a PHQ-9 to a CSV file, the most worth first.

        Chosen by how much an answer would lower what RUN does not know of everybody, and a share
        by lot, with its chance (docs/cold-start.md). People with a PHQ-9 and locked people are
        never among them.
        """
        from leadline.cohort.store import read_cohort
        from leadline.runs.manifest import saw_no_label
        from leadline.scoring.next_labels import ask_next

        counts = ask_next(read_cohort(cohort), run, out, config, overwrite=overwrite)
        unlabelled = saw_no_label(run)
        if as_json:
            facts = {"no_label_seen": unlabelled, "notice": NOTICE}
            show_json({"asks_file": str(out), **counts, **facts})
            return
        click.echo(
            f"{out}: {counts['asked']:,} of {counts['people']:,} people, {counts['lot']:,} by lot; "
            f"the run expects {1 - counts['unknown_left']:.0%} of what it does not know to be "
            "learned"
        )
        if unlabelled:
            say(NO_LABEL)

    return ask
