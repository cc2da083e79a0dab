"""The verb `monitor`: a store, what goes in, the service, the scorer, the night."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click

from leadline.cli.flags import JSON, path_argument, say, settings, show_json

STORE_VARIABLE = "LEADLINE_STORE"


def build_monitor() -> click.Command:
    """The verb `monitor`, with its own verbs."""

    @click.group("monitor")
    def monitor() -> None:
        """Follow people over months: estimates as messages arrive, real PHQ-9s as anchors.

        One store (a file of SQLite, or PostgreSQL), `serve` for what comes in and is read, one or
        more `score` beside it, and `nightly` once a day; docs/monitor.md says what runs where. An
        estimate is not a PHQ-9 response, not a diagnosis, not a crisis service.
        """

    for add in (_add_init, _add_token, _add_load, _add_serve, _add_score, _add_nightly,
                _add_rescore, _add_promote, _add_forget, _add_rekey, _add_doctor):  # fmt: skip
        add(monitor)
    return monitor


def _store_option(function: Any) -> Any:
    """--store, or LEADLINE_STORE, which hides a password from the list of processes."""
    return click.option(
        "--store", required=True, envvar=STORE_VARIABLE, show_envvar=True,
        help="File of SQLite, or postgresql://USER@HOST/NAME.",
    )(function)  # fmt: skip


def _add_init(monitor: click.Group) -> None:
    from leadline.monitor.config import MonitorConfig
    from leadline.store.vault import KeyConfig

    @monitor.command("init")
    @_store_option
    @click.option("--run", type=click.Path(path_type=Path), required=True,
                  help="Finished run whose estimates are shown.")  # fmt: skip
    @click.option("--texts", type=click.Choice(["kept", "elsewhere"]), default="kept",
                  show_default=True, help="In the store, sealed, or with the app.")  # fmt: skip
    @settings(KeyConfig, MonitorConfig)
    @JSON
    def init(
        keys: KeyConfig, config: MonitorConfig, store: str, run: Path, texts: str, as_json: bool
    ) -> None:
        """Make a store for the estimates of RUN, or bring one up to date."""
        from leadline.monitor.start import start_store

        facts = start_store(store, run, keys, config, keep_texts=texts == "kept")
        if as_json:
            show_json(facts)
            return
        kind = (
            f"fitted on {facts['people']} people with two PHQ-9s"
            if facts["people"]
            else "defaults (fewer than 50 people with two PHQ-9s)"
        )
        click.echo(f"{facts['store']}: model {facts['model']}; parameters of the course: {kind}")
        if facts["no_label_seen"]:
            click.echo("The run has seen no label: its estimates are wide, and say so.")
        say("Keep the key of the store apart from its copies: without it nothing can be read.")


def _add_token(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("token")
    @_store_option
    @click.option("--name", default="", help="What the token is for.")
    @click.option("--scope", multiple=True, help="ingest, care or metrics. Repeatable.")
    @click.option("--days", default=90.0, show_default=True, help="Days for which it holds.")
    @click.option("--team", default=None, help="With --scope care: whose people it sees.")
    @click.option("--list", "list_", is_flag=True, help="List tokens, without their secrets.")
    @click.option("--revoke", default=None, metavar="ID", help="End a token.")
    @settings(KeyConfig)
    @JSON
    def token(
        keys: KeyConfig, store: str, name: str, scope: tuple[str, ...], days: float,
        team: str | None, list_: bool, revoke: str | None, as_json: bool,
    ) -> None:  # fmt: skip
        """Make a token for a program, list the tokens, or end one. It is shown once."""
        from leadline.monitor.start import end_token, new_token, shown_tokens

        if list_:
            tokens = shown_tokens(store, keys)
            if as_json:
                show_json(tokens)
            for fields in [] if as_json else tokens:
                click.echo("  ".join(str(value) for value in fields.values()))
        elif revoke is not None:
            end_token(store, keys, revoke)
            say("The token has ended.")
        else:
            text = new_token(store, keys, name, scope, (days, team))
            if as_json:
                show_json({"token": text})
            else:
                click.echo(text)
                say("It is not shown again.")


def _add_load(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("load")
    @path_argument("cohort")
    @_store_option
    @click.option("--consent", required=True,
                  help="Where the people's agreement to an estimate is kept.")  # fmt: skip
    @click.option("--team", default=None, help="Who looks after them.")
    @settings(KeyConfig)
    @JSON
    def load(
        keys: KeyConfig, cohort: Path, store: str, consent: str, team: str | None, as_json: bool
    ) -> None:
        """Put a COHORT into the store, as if each message had been sent; twice is once."""
        from leadline.monitor.load import LoadConfig, load_cohort
        from leadline.store.store import open_store

        opened = open_store(store, keys)
        counts = load_cohort(cohort, opened, LoadConfig(consent, team), say)
        opened.close()
        if as_json:
            show_json(counts)
        else:
            click.echo(", ".join(f"{name}: {count:,}" for name, count in counts.items()))


def _add_serve(monitor: click.Group) -> None:
    from leadline.monitor.hooks import HookConfig
    from leadline.store.vault import KeyConfig

    @monitor.command("serve")
    @_store_option
    @click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
    @click.option("--port", default=8080, show_default=True, help="Port (0: any free).")
    @click.option("--cert", default=None, help="Certificate for TLS (PEM).")
    @click.option("--cert-key", default=None, help="Key of the certificate (PEM).")
    @click.option("--behind-proxy", is_flag=True, help="A proxy in front does TLS.")
    @settings(KeyConfig, HookConfig)
    def serve(keys: KeyConfig, hooks: HookConfig, store: str, **fields: Any) -> None:
        """Serve the HTTP interface, until the process is told to end."""
        from leadline.monitor.start import need_service

        need_service()
        from leadline.service.serve import ServeConfig
        from leadline.service.serve import serve as serve_store
        from leadline.store.store import open_store

        config = ServeConfig(**fields)
        opened = open_store(store, keys)
        place = opened.database.place
        serve_store(opened, config, hooks, lambda address: say(f"Serving {place} on {address}"))


def _add_score(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("score")
    @_store_option
    @click.option("--states", type=click.Path(path_type=Path), required=True,
                  help="Folder for the states of this process alone.")  # fmt: skip
    @click.option("--memory-gb", default=4.0, show_default=True, help="Memory for states.")
    @click.option("--disk-gb", default=50.0, show_default=True, help="Disk for states.")
    @click.option("--history-url", default=None, help="Where an app that keeps texts gives them.")
    @click.option("--once", is_flag=True, help="End when nothing waits.")
    @settings(KeyConfig)
    def score(
        keys: KeyConfig, store: str, states: Path, memory_gb: float, disk_gb: float,
        history_url: str | None, once: bool,
    ) -> None:  # fmt: skip
        """Make estimates as messages arrive; as many of these as the messages need."""
        from leadline.monitor.start import run_scorer
        from leadline.running.scorer import RunningConfig

        config = RunningConfig(memory_gb=memory_gb, disk_gb=disk_gb)
        people = run_scorer(store, keys, (states, config), history_url=history_url, once=once)
        say(f"{people:,} readings of people.")


def _add_nightly(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("nightly")
    @_store_option
    @click.option("--date", "when", default=None, metavar="YYYY-MM-DD",
                  help="Of which night (default: today, UTC).")  # fmt: skip
    @click.option("--backup", type=click.Path(path_type=Path), default=None,
                  help="Copy of a store of SQLite to be checked.")  # fmt: skip
    @settings(KeyConfig)
    @JSON
    def nightly(
        keys: KeyConfig, store: str, when: str | None, backup: Path | None, as_json: bool
    ) -> None:
        """Move everybody on by a day, and choose whom to ask. Once a date, however often run."""
        from leadline.monitor.start import night

        try:
            day = None if when is None else date.fromisoformat(when)
        except ValueError:
            raise click.UsageError("--date is no date such as 2026-03-01.") from None
        steps = night(store, keys, day, backup=backup, progress=None if as_json else say)
        if as_json:
            show_json(steps)
            return
        for line in step_lines(steps):
            click.echo(line)


def step_lines(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the steps of a night did, as a person reads it."""
    for name, content in steps.items():
        yield f"{name}: " + ", ".join(f"{key} {_figure(value)}" for key, value in content.items())


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):  # a figure of drift
        return f"{_figure(value['value'])} (of {value['people']:,} people)"
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _add_rescore(monitor: click.Group) -> None:
    from leadline.scoring.config import ScoreConfig
    from leadline.store.vault import KeyConfig

    @monitor.command("rescore")
    @_store_option
    @click.option("--run", type=click.Path(path_type=Path), required=True,
                  help="Finished run that reads the whole store.")  # fmt: skip
    @click.option("--history-url", default=None, help="Where an app that keeps texts gives them.")
    @settings(KeyConfig, ScoreConfig)
    @JSON
    def rescore(
        keys: KeyConfig, config: ScoreConfig, store: str, run: Path, history_url: str | None,
        as_json: bool,
    ) -> None:  # fmt: skip
        """Estimate the whole store by another RUN, beside what is shown (its shadow)."""
        from leadline.monitor.start import rescore_store

        counts = rescore_store(store, keys, run, config, history_url=history_url)
        if as_json:
            show_json(counts)
        else:
            click.echo(f"{counts['people']:,} people, {counts['estimates']:,} estimates; shown "
                       f"after: leadline monitor promote {counts['model']}")  # fmt: skip


def _add_promote(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("promote")
    @click.argument("model")
    @_store_option
    @settings(KeyConfig)
    def promote(keys: KeyConfig, model: str, store: str) -> None:
        """Show the estimates of MODEL from now on; the old ones stay to be looked up."""
        from leadline.monitor.start import promote_model

        promote_model(store, keys, model)
        say("Scorers of the old run end with an error now: start them with this one's store again.")


def _add_forget(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("forget")
    @click.argument("person")
    @_store_option
    @click.option("--yes", is_flag=True, help="Do it; without, say what would go.")
    @settings(KeyConfig)
    @JSON
    def forget(keys: KeyConfig, person: str, store: str, yes: bool, as_json: bool) -> None:
        """Destroy PERSON's key and delete what is theirs."""
        from leadline.monitor.start import forget as forget_one

        counts = forget_one(store, keys, person, really=yes)
        if as_json:
            show_json(counts)
            return
        verb = "Deleted" if yes else "Would delete"
        click.echo(f"{verb}: " + ", ".join(f"{n:,} of {name}" for name, n in counts.items()))


def _add_rekey(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("rekey")
    @_store_option
    @click.option("--new-key-file", type=click.Path(path_type=Path), required=True,
                  help="File that is made for the new key.")  # fmt: skip
    @settings(KeyConfig)
    def rekey(keys: KeyConfig, store: str, new_key_file: Path) -> None:
        """Wrap every key of the store under a new one."""
        from leadline.monitor.start import rekey as rekey_store

        say(f"{rekey_store(store, keys, new_key_file):,} keys are wrapped under {new_key_file}.")


def _add_doctor(monitor: click.Group) -> None:
    from leadline.store.vault import KeyConfig

    @monitor.command("doctor")
    @_store_option
    @settings(KeyConfig)
    @JSON
    def doctor(keys: KeyConfig, store: str, as_json: bool) -> None:
        """Say how a store stands: model, people, what waits, the last night."""
        from leadline.monitor.start import examine

        facts = examine(store, keys)
        if as_json:
            show_json(facts)
            return
        for name, value in facts.items():
            click.echo(f"{name.replace('_', ' ')}: {value}")
