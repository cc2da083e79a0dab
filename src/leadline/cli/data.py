"""Verbs that make and describe cohorts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leadline.cli.flags import JSON, OUT, OVERWRITE, flags, path_argument, say, settings, show_json
from leadline.errors import EXIT_CODE

if TYPE_CHECKING:
    from leadline.runs.verify import Verification


def build_import() -> click.Command:
    """The verb `import`."""
    from leadline.sources.config import ImportConfig

    @click.command("import")
    @path_argument("source")
    @OUT
    @settings(ImportConfig)
    @OVERWRITE
    @JSON
    def import_(
        config: ImportConfig, source: Path, out: Path, overwrite: bool, as_json: bool
    ) -> None:
        """Read conversations and PHQ-9s from SOURCE into a cohort.

        Each layout, with an example, is in docs/importing.md. Nothing is written unless all of
        it is understood; with --skip-bad, bad rows are left out, counted and listed.
        """
        from rich.console import Console

        from leadline.importing.importing import import_files
        from leadline.importing.summary import render_import, shown_columns

        manifest = import_files(source, config, out, overwrite=overwrite)
        counts, import_facts = manifest["counts"], manifest["import"]
        if as_json:
            columns = shown_columns(import_facts["columns"])
            show_json({"cohort": str(out), **counts, **import_facts, "columns": columns})
            return
        Console().print(*render_import(manifest), sep="\n", markup=False, highlight=False)
        click.echo(
            f"{out}: {counts['people']:,} people, {counts['turns']:,} turns, "
            f"{counts['phq9']:,} PHQ-9s (format {import_facts['format']})"
        )
        if import_facts["left_out"]:
            say(f"{import_facts['left_out']:,} rows left out; {out / 'manifest.json'} lists them.")

    return import_


def build_simulate() -> click.Command:
    """The verb `simulate`."""
    from leadline.simulate.config import PRESETS, SimulateConfig
    from leadline.simulate.config import preset as preset_settings

    @click.command("simulate")
    @OUT
    @click.option("--preset", default="paper", type=click.Choice(list(PRESETS)), show_default=True,
                  help="Settings to start from; a flag that is given wins.")  # fmt: skip
    @click.option("--limit/--no-limit", default=False, show_default=True,
                  help="Also compute the best possible predictor.")  # fmt: skip
    @click.option("--contributions", default=0, show_default=True,
                  help="With --limit: people whose turns are taken out in turn.")  # fmt: skip
    @flags(SimulateConfig)
    @OVERWRITE
    @JSON
    @click.pass_context
    def simulate(
        ctx: click.Context,
        /,
        out: Path,
        preset: str,
        limit: bool,
        contributions: int,
        overwrite: bool,
        as_json: bool,
        **fields: Any,
    ) -> None:
        """Write a cohort of simulated people whose truth is known (docs/simulator.md)."""
        from leadline.simulate.best_predictor import bayes_limit
        from leadline.simulate.cohort import simulate_cohort, without_limit

        default = click.core.ParameterSource.DEFAULT
        overrides = {
            name: value
            for name, value in fields.items()
            if ctx.get_parameter_source(name) is not default
        }
        config = preset_settings(preset, **overrides)
        cohort = None if overwrite or not limit else without_limit(out, config)
        if cohort is None:
            cohort = simulate_cohort(out, config, overwrite=overwrite, progress=say)
        summary: dict[str, Any] = {"cohort": str(out), **cohort.manifest["counts"]}
        if limit:
            summary["limit"] = bayes_limit(out, contributions=contributions)
        if as_json:
            show_json(summary)
        else:
            click.echo(", ".join(f"{key}: {value}" for key, value in summary.items()))

    return simulate


def build_inspect() -> click.Command:
    """The verb `inspect`."""
    from leadline.phq9.change import ChangeConfig

    @click.command("inspect")
    @path_argument("cohort")
    @click.option("--days", default=14.0, show_default=True,
                  help="Days before a PHQ-9 in which text counts (0: all).")  # fmt: skip
    @click.option("--undated/--no-undated", default=False, show_default=True,
                  help="Count what has no time as train --undated reads it.")  # fmt: skip
    @settings(ChangeConfig)
    @JSON
    def inspect(
        change: ChangeConfig, cohort: Path, days: float, undated: bool, as_json: bool
    ) -> None:
        """Describe a cohort: counts, lengths, dates, labels, changes, gaps, suspicious spans."""
        from rich.console import Console

        from leadline.cohort.config import WindowConfig
        from leadline.cohort.inspect import inspect_cohort, render_inspection
        from leadline.cohort.store import read_cohort

        window = WindowConfig(days=days, undated=undated)
        inspection = inspect_cohort(read_cohort(cohort), window.days, change, undated=undated)
        if as_json:
            show_json(inspection)
        else:
            Console().print(render_inspection(inspection))

    return inspect


def build_lock() -> click.Command:
    """The verb `lock`."""
    from leadline.cohort.config import WindowConfig

    @click.command("lock")
    @path_argument("cohort")
    @click.option("--share", default=0.2, show_default=True,
                  help="Share of the people who can be evaluated.")  # fmt: skip
    @click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
    @click.option("--by", default="severity", type=click.Choice(["severity", "time"]),
                  show_default=True,
                  help="Draw over severity, or take the latest; their first PHQ-9 is a cut-off "
                  "from which on nothing trains.")  # fmt: skip
    @click.option("--include-phq8/--no-include-phq8", default=False, show_default=True,
                  help="People with PHQ-8 totals can be evaluated too, as in train.")  # fmt: skip
    @click.option("--preview", is_flag=True,
                  help="Say how many people it would be and what they can bear; write "
                  "nothing.")  # fmt: skip
    @click.option("--drop", metavar="REASON",
                  help="Give the test up for good instead; the reason stays on "
                  "record.")  # fmt: skip
    @settings(WindowConfig)
    @JSON
    def lock(window: WindowConfig, cohort: Path, as_json: bool, **draw: Any) -> None:
        """Set people aside as the locked test.

        They are drawn among those who can be evaluated: with a PHQ-9 that has text in its window.
        Give the flags of the window that train will have. Every later verb refuses to train on
        them. It is done once: a test that is drawn again until it pleases is no test. Their side
        stays theirs when the cohort is imported anew.
        """
        from leadline.cohort.lock import drop_lock, lock_cohort

        reason = draw.pop("drop")
        if reason is not None:
            _say_dropped(cohort, drop_lock(cohort, reason), as_json=as_json)
        else:
            record = lock_cohort(cohort, window=window, **draw)
            _say_locked(cohort, record, preview=draw["preview"], as_json=as_json)

    return lock


def build_relock() -> click.Command:
    """The verb `relock`."""

    @click.command("relock")
    @path_argument("cohort")
    @JSON
    def relock(cohort: Path, as_json: bool) -> None:
        """Say that the tables of COHORT were changed on purpose.

        Every verb refuses a table that is not the one in the manifest. This hashes the tables as
        they are now and keeps a record of the change. Who is locked cannot be changed so. Runs and
        labels of before are then of another cohort.
        """
        from leadline.cohort.relock import relock_cohort

        change = relock_cohort(cohort)
        if as_json:
            show_json(change)
        elif change["files"]:
            click.echo(f"{cohort}: the change of {', '.join(change['files'])} is on record.")
        else:
            click.echo(f"{cohort}: nothing had changed.")

    return relock


def build_verify() -> click.Command:
    """The verb `verify`."""

    @click.command("verify")
    @path_argument("path")
    @JSON
    def verify_(path: Path, as_json: bool) -> None:
        """Say what of PATH is not as Leadline wrote it.

        PATH is a cohort, labels, a run, an export, a fetched reader, a file in one of these, or a
        file of estimates.
        Each file is held against its hash in the manifest, and what Leadline did not write is
        named. The locked test's record, the checkpoint of a run and estimates are also held against
        what can be written. Ends with 2 where something does not match, one line for each.
        """
        from leadline.runs.verify import verify

        verification = verify(path)
        if as_json:
            show_json(verification.as_dict())
        else:
            _say_verified(path, verification)
        if verification.wrong:
            sys.exit(EXIT_CODE)

    return verify_


def _say_verified(path: Path, verification: Verification) -> None:
    from leadline.runs.verify import UNBOUND

    for finding in verification.wrong:
        name = finding.file if finding.file.isprintable() else ascii(finding.file)
        click.echo(f"{name}: {finding.problem} What to do: {finding.remedy}")
    free = [finding.file for finding in verification.findings if finding.state == UNBOUND]
    wrong = len(verification.wrong)
    matching = len(verification.findings) - wrong - len(free)
    click.echo(
        f"{path} ({verification.kind}): {matching:,} files as they were written, {wrong:,} not."
    )
    if free:
        say(f"No hash binds {', '.join(map(ascii, free))}.")


def _say_dropped(cohort: Path, dropped: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(dropped)
        return
    click.echo(
        f"{dropped['people']:,} people in {cohort} are not locked any more. Their test had been "
        f"opened {len(dropped['openings'])} times; that stays on record."
    )


def _say_locked(cohort: Path, record: dict[str, Any], *, preview: bool, as_json: bool) -> None:
    """How many people are locked, and what their number can bear."""
    from leadline.evaluate.precision import Precision

    above = record["at_cut"]
    precision = Precision(record["people"], above, record["people"] - above)
    if as_json:
        show_json({**record, "precision": precision.as_dict()})
        return
    verb = "would be" if preview else "are"
    click.echo(
        f"{record['people']:,} of {record['eligible']:,} people who can be evaluated {verb} "
        f"locked in {cohort}."
    )
    for line in precision.lines("This test"):
        say(line)
    if record["by"] == "time":
        say(f"Nothing said or answered from {record['cutoff']} on trains.")
