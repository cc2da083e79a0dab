"""The command line: one verb, one config, one call.

Nothing heavy is imported until a verb runs, so help answers at once. Flags are derived from
the fields of the verb's settings (see `settings.setting`); a verb adds only what names files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import click

from leadline import silence
from leadline.about import __version__
from leadline.artefact import private
from leadline.cli import data, failure, model, prior
from leadline.cli.extras import missing_extra
from leadline.cli.flags import say
from leadline.cli.monitor import build_monitor
from leadline.errors import EXIT_CODE, LeadlineError


@dataclass(frozen=True)
class Verb:
    """What a verb is for, in one line, and what builds its command."""

    help: str
    build: Callable[[], click.Command]


VERBS = {
    "demo": Verb(
        "The whole course on a simulated cohort, one report at the end.", model.build_demo
    ),
    "import": Verb("Read conversations and PHQ-9s from SOURCE into a cohort.", data.build_import),
    "simulate": Verb(
        "Write a cohort of simulated people whose truth is known.", data.build_simulate
    ),
    "inspect": Verb("Counts, dates, labels and suspicious spans of a cohort.", data.build_inspect),
    "lock": Verb("Set people of a cohort aside as the locked test.", data.build_lock),
    "relock": Verb("Say that a cohort was changed on purpose.", data.build_relock),
    "verify": Verb(
        "Say what of a cohort, run, labels or export is not as written.", data.build_verify
    ),
    "prior": Verb(
        "Write a run that has seen no label, by anchors and an assumption.", prior.build_prior
    ),
    "train": Verb("Train an estimator on a cohort and write a run.", model.build_train),
    "ask": Verb("Say whose PHQ-9s would teach a run most.", prior.build_ask),
    "label": Verb(
        "Have a language model rate a cohort, item by item, with quotes.", model.build_label
    ),
    "audit": Verb("Hold a teacher's labels against the PHQ-9s of the cohort.", model.build_audit),
    "selftrain": Verb("Train in rounds on PHQ-9s and pseudolabels.", model.build_selftrain),
    "score": Verb("Write the estimate after every user turn of a cohort.", model.build_score),
    "evaluate": Verb("Compare a run's predictions with gold labels.", model.build_evaluate),
    "report": Verb("Write the report of an evaluated run.", model.build_report),
    "export": Verb("Write a run's model for ONNX Runtime or vLLM.", model.build_export),
    "reader": Verb("Fetch readers, once; list what is here.", model.build_reader),
    "monitor": Verb("Follow people over months: a store, a service, a night.", build_monitor),
}

GROUPS = {
    "Start": ("demo",),
    "Data": ("import", "simulate", "inspect", "lock", "relock", "verify"),
    "Model": (
        "reader",
        "prior",
        "train",
        "ask",
        "label",
        "audit",
        "selftrain",
        "score",
        "evaluate",
        "report",
        "export",
    ),
    "Monitoring": ("monitor",),
}


VERB = "leadline.verb"
"""Where a context keeps the name of the verb that it runs."""


@dataclass
class Wishes:
    """What was asked for the whole command.

    Attributes:
        traceback: show a failure in full.
        show_streams: have threads, warnings and logs print as Python does.
    """

    traceback: bool
    show_streams: Callable[[], None]


def _ask_for_traceback(ctx: click.Context, _: click.Parameter, in_full: bool) -> None:
    """Have failures, warnings and logs shown in full from here on."""
    if in_full and isinstance(ctx.obj, Wishes):
        ctx.obj.traceback = True
        ctx.obj.show_streams()


def _traceback_option(*, hidden: bool) -> click.Option:
    return click.Option(
        ["--traceback"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        hidden=hidden,
        callback=_ask_for_traceback,
        help="Show a failure of the program in full, which may quote transcripts.",
    )


class Verbs(click.Group):
    """A group whose commands are built when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the verbs in the order of the course."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Build a verb, importing its settings; each takes --traceback too."""
        if cmd_name not in VERBS:
            return None
        ctx.meta[VERB] = cmd_name
        command = VERBS[cmd_name].build()
        command.params.append(_traceback_option(hidden=True))
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; an optional package that it lacks is named with the extra that brings it."""
        try:
            return super().invoke(ctx)
        except ImportError as error:
            problem = missing_extra(error, ctx.meta.get(VERB, ""))
            if problem is None:
                raise
            raise problem from error

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """List the verbs by what they are for, without building any."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, VERBS[name].help) for name in names])


@click.command(
    cls=Verbs,
    params=[_traceback_option(hidden=False)],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="leadline")
def app() -> None:
    """Depression severity (PHQ-9 total, 0-27) from conversation, after every message.

    An estimate, not a PHQ-9 response, not a diagnosis, not a crisis service.
    """


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse names in bytes that are no UTF-8: no table, manifest or page could hold them.

    Raises:
        LeadlineError: there is one.
    """
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError as error:
            raise LeadlineError(
                f"Argument {number} of the command holds bytes that are no UTF-8.",
                remedy="Rename the file or folder, for example with convmv, or choose another.",
            ) from error


def _refuse(problem: LeadlineError) -> NoReturn:
    """Say what is wrong, and end; what could not be printed is not tried again at the exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    click.echo(f"{click.style('Error', fg='red', bold=True)}: {problem}", err=True)
    sys.exit(EXIT_CODE)


def main() -> None:
    """Entry point of the `leadline` command.

    A user's mistake, or what the system refuses, is one message and exit code 2. Any other failure
    is told by its type and its places, with exit code 1; its message may quote people and is shown
    on request alone. Whatever is written is closed to other users of the machine.
    """
    os.environ.update(silence.COMMAND)
    wishes = Wishes(failure.is_asked_for(), lambda: None)
    try:
        with private(), failure.quiet_streams() as wishes.show_streams:
            if wishes.traceback:
                wishes.show_streams()
            _check_arguments(sys.argv[1:])
            app(prog_name="leadline", standalone_mode=False, obj=wishes)
    except LeadlineError as error:
        _refuse(error)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_CODE)
    except (KeyboardInterrupt, click.Abort):
        say("Stopped. What was finished is kept; the same command goes on from there.")
        sys.exit(130)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of a Rust library is no Exception
        problem = failure.refusal(error, sys.argv[1:])
        if problem is not None and not wishes.traceback:
            _refuse(problem)
        show = failure.full_traceback if wishes.traceback else failure.describe
        say(show(error))
        sys.exit(failure.EXIT_CODE)
