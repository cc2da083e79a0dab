"""`label`: put a cohort to a teacher and write LABELS, resumable at any point.

LABELS holds `requests.sqlite` (every question and answer), `labels.parquet` (the valid
ratings) and the manifest, written last. Running the same command again continues where it
was; running it with another model adds that model's labels to the same table.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.about import code_version
from leadline.artefact import (
    MANIFEST,
    check_files,
    finish_commit,
    pending_name,
    read_manifest,
    replacing,
    sha256,
    write_manifest,
)
from leadline.cohort.config import WindowConfig, window_of
from leadline.cohort.masking import DETECTOR
from leadline.cohort.questionnaire import check_questionnaires, readings_of
from leadline.cohort.store import FILES, Cohort, read_cohort, table_hashes
from leadline.errors import LeadlineError
from leadline.output import check_begun, clear_scratch
from leadline.progress import progress_bar, step_by
from leadline.tables import COSTS
from leadline.teacher.choice import choose_people
from leadline.teacher.client import BatchClient, Client, Connection, check_consent, resolve_url
from leadline.teacher.config import BYTES_PER_TOKEN, LabelConfig
from leadline.teacher.dispatch import (
    DispatchJob,
    highest_cost,
    run_batches,
    run_direct,
    run_local,
)
from leadline.teacher.label_table import (
    ANSWERS_KEPT,
    LABELS_FILE,
    REQUESTS,
    refuse_locked_labels,
    teacher_labels,
)
from leadline.teacher.reasoning import EXPECTED_SHARE
from leadline.teacher.request_store import (
    Planned,
    RequestStore,
    code_fact,
    digest,
    open_store,
)
from leadline.teacher.rubric import (
    OVERHEAD_TOKENS,
    FewShotExample,
    load_rubric,
    system_prompt,
)
from leadline.teacher.selection import (
    cohort_readings,
    gold_examples,
    refuse_locked_examples,
    spread_people,
)
from leadline.teacher.simulated_client import SimulatedClient, reading_key
from leadline.teacher.thoughts import THOUGHTS, open_thoughts
from leadline.teacher.transcript import Request, TeacherReading, render

EXPECTED_ANSWER = 500  # tokens of a rating with quotes, for the expected cost only


def label_cohort(
    cohort_dir: Path,
    out: Path,
    config: LabelConfig,
    *,
    window: WindowConfig | None = None,
    examples: Sequence[FewShotExample] = (),
    announce: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Rate the readings of a cohort and write LABELS.

    Args:
        cohort_dir: a finished cohort.
        out: the LABELS directory, new or begun for the same cohort.
        config: settings.
        window: which text counts; the default window if None.
        examples: few-shot examples from training folds; without them ``config.examples``
            people are taken (`selection.spread_people`). A reading is never shown an example
            of its own person.
        announce: called with the plan before anything is sent.

    Returns:
        Of a dry run the plan alone: what `estimate` and `choice.Choice.report` say. Otherwise
        ``plan``, ``stopped`` (``complete`` or ``max-usd``), ``states``, ``usage``,
        ``per_person``, ``errors``, ``recovered``, ``labels`` and ``people``.

    Raises:
        LeadlineError: consent, a locked person, another cohort's labels, a provider that
            refuses everything, or more requests lost than may be sent again.
    """
    cohort = read_cohort(cohort_dir)
    url = None if config.teacher == "simulated" else resolve_url(config.teacher, config.base_url)
    check_consent(cohort.manifest, config.teacher, url)
    window = window or WindowConfig()
    examples = _examples(cohort, window, config, examples)
    readings = readings_of(cohort, window, config.who)
    counts = check_questionnaires(cohort, window, readings, context=False)
    choice, teacher = choose_people(cohort, window, config), teacher_id(config, examples)

    def planned() -> Iterator[Planned]:
        rated_readings = cohort_readings(cohort, window, config.who, choice.people)
        return plan_requests(_first(rated_readings, config.limit), config, examples)

    if config.dry_run:  # binds nothing: what is only thought of decides no setup
        return {**_forecast(planned(), config, teacher, out / REQUESTS), **choice.report()}
    check_begun(out, "labels", (REQUESTS,), [cohort_dir])
    with open_store(out / REQUESTS) as store:
        clear_scratch(out)
        store.bind("cohort", cohort_hash(cohort))
        store.bind("window", window_identity(window))
        store.bind(f"setup of {config.model or config.teacher}", teacher)
        _take_over(store, teacher, config, planned())
        plan = {**_remaining(planned(), config, teacher, store), **choice.report()}
        announce(plan)
        store.plan(planned())
        with open_thoughts(out / THOUGHTS) if config.keep_thoughts else nullcontext() as thoughts:
            keep = thoughts.keep if thoughts else _forget
            job = DispatchJob(teacher, config, keep=keep)
            report = {"plan": plan, **_work(store, job, url, cohort_dir, plan["requests"])}
        labels = teacher_labels(store)
        refuse_locked_labels(labels, cohort.locked_ids)
    facts = {**report, "questionnaire": counts.facts(window)}
    _write(out, labels, cohort, config, window, facts)
    return {**report, "labels": labels.height, "people": labels["person_id"].n_unique()}


def _take_over(
    store: RequestStore, teacher: str, config: LabelConfig, planned: Iterator[Planned]
) -> None:
    """Go on with a store that other code began, as far as that makes no difference.

    Answers are paid for, and what decides one is in the hash of its request: model, settings,
    rubric, prompt and transcript. They are kept where this code asks in the same words. The
    simulated teacher is code of ours and costs nothing, so it is asked again.

    Raises:
        LeadlineError: a reading was sent in other words.
    """
    code, name = code_version(), code_fact(teacher)
    if store.fact(name) == code:
        return
    if config.teacher == "simulated":
        store.ask_again(teacher)
    else:
        store.drop_reworded(planned)
    store.record(name, code)


def _examples(
    cohort: Cohort,
    window: WindowConfig,
    config: LabelConfig,
    examples: Sequence[FewShotExample],
) -> Sequence[FewShotExample]:
    """Those that were handed in, or those that the config asks for; none is of a locked person."""
    if config.examples and not examples:
        people = spread_people(cohort, window, config.examples)
        examples = gold_examples(cohort, window, people, max_chars=config.max_chars)
    refuse_locked_examples((item.person_id for item in examples), cohort.locked_ids)
    return examples


def window_identity(window: WindowConfig) -> str:
    """What decides which text a reading shows, for the store.

    How it is masked belongs to it: a reading whose text has changed would be rated twice.
    """
    settings = dataclasses.asdict(window)
    del settings["keep_questionnaire"]  # it decides whether to stop, not what is read
    if not window.undated:  # as stores say it that were begun before there was a choice
        del settings["undated"]
    if window.mask_questionnaire:
        settings["masked"] = DETECTOR
    return json.dumps(settings, sort_keys=True)


def _identity_named(manifest: Mapping[str, Any], labelled: WindowConfig) -> str | None:
    """The window's identity in a manifest of LABELS; None where it cannot be known.

    Before it was named, masking began anew with each conversation: such labels are of other text.
    Labels of an earlier detector are of other text too.
    """
    named = manifest.get("window_identity")
    if named is not None:
        return str(named)
    return None if labelled.mask_questionnaire else window_identity(labelled)


def refuse_other_labels(labels: Path, cohort: Mapping[str, Any], window: WindowConfig) -> None:
    """Refuse LABELS of other turns, of another window or of text that was masked otherwise.

    A rating is of the words that the teacher was shown. It is matched to a reading by the
    numbers of its turns, which say nothing of the words.

    Args:
        labels: a finished LABELS directory.
        cohort: manifest of the cohort whose readings the labels are to be used for.
        window: which text these readings hold.

    Raises:
        LeadlineError: the turns of the cohort, the window, or the labels' own table are not
            those that the manifest of LABELS names, by hash.
    """
    manifest = read_manifest(labels, "labels")
    made_from, here = manifest["inputs"], cohort.get("files", {})
    if made_from.get(FILES[0]) != here.get(FILES[0]):
        raise LeadlineError(
            "These labels were made from other turns than those of the cohort.",
            remedy="Run leadline label again with this cohort and a new --out, or give the cohort "
            "that was labelled.",
            file=labels,
        )
    labelled = window_of(manifest["settings"].get("window"), labels / MANIFEST)
    if _identity_named(manifest, labelled) != window_identity(window):
        raise LeadlineError(
            "These labels are of another window or of text that was masked otherwise: "
            f"{_window_words(labelled, window)}.",
            remedy="Give the same --days, --min-turns, --undated and --mask-questionnaire to "
            "leadline label (with a new --out) and here.",
            file=labels,
        )
    check_files(labels, manifest, [LABELS_FILE], remedy=ANSWERS_KEPT)


def _window_words(labelled: WindowConfig, window: WindowConfig) -> str:
    """What of the window differs, such as ``days 14 there and 0 here``."""
    there, here = dataclasses.asdict(labelled), dataclasses.asdict(window)
    words = [
        f"{name} {there.get(name)} there and {value} here"
        for name, value in here.items()
        if there.get(name) != value and name != "keep_questionnaire"
    ]
    return ", ".join(words) or (
        "they come from a version that masked otherwise or did not record how it masked"
    )


def teacher_id(config: LabelConfig, examples: Sequence[FewShotExample] = ()) -> str:
    """What identifies a teacher in the store: all that decides an answer besides the reading.

    A store holds one such setup per model, so a reading has one label per model and draw.
    """
    example_texts = [text for item in examples for text in (item.transcript, str(item.scores))]
    setup = {
        "provider": config.teacher,
        "model": config.model or config.teacher,
        "rubric": load_rubric(config.rubric).version,
        "structured": config.structured,
        "temperature": config.temperature,
        "max_chars": config.max_chars,
        "examples": digest(*example_texts) if example_texts else None,
    }
    if config.reasoning != "default":  # as stores say it that were begun before there was a choice
        setup["reasoning"] = config.reasoning
        if config.reasoning_by != "auto":
            setup["reasoning_by"] = config.reasoning_by
    return json.dumps(setup)


def plan_requests(
    readings: Iterator[TeacherReading],
    config: LabelConfig,
    examples: Sequence[FewShotExample] = (),
) -> Iterator[Planned]:
    """Every request of a labelling, one item per reading."""
    rubric = load_rubric(config.rubric)
    teacher = teacher_id(config, examples)
    simulated = config.teacher == "simulated"
    prompts: dict[frozenset[str], tuple[str, tuple[str, ...]]] = {}
    for reading in readings:
        excluded_people = frozenset({reading.person_id} & {item.person_id for item in examples})
        if excluded_people not in prompts:
            prompt_examples = tuple(
                item for item in examples if item.person_id not in excluded_people
            )
            example_people = tuple(sorted({item.person_id for item in prompt_examples}))
            prompts[excluded_people] = (
                "" if simulated else system_prompt(rubric, prompt_examples),
                example_people,
            )
        system, example_people = prompts[excluded_people]
        transcript = (
            reading_key(reading)
            if simulated
            else render(reading.messages, reading.person_id, max_chars=config.max_chars)
        )
        yield Planned(teacher, system, example_people, transcript, config.draws, reading)


def estimate(
    planned: Iterator[Planned],
    config: LabelConfig,
    settled: Collection[bytes] = (),
    mean_output: float | None = None,
) -> dict[str, Any]:
    """Requests, tokens and cost of a plan: what to expect, and the most that it can be.

    Equal requests are counted once. Costs are None without prices, 0 where nothing is paid.

    Args:
        planned: all requests.
        config: prices, and the room of answers and thoughts.
        settled: keys of requests that will not be sent again.
        mean_output: output tokens of an answer so far; `EXPECTED_ANSWER` and `EXPECTED_SHARE` of
            the room for thoughts if None.

    Returns:
        ``people``, ``requests`` that will be sent and ``answered`` that will not,
        ``expected_input_tokens``, ``expected_output_tokens``, ``expected_usd`` and ``most_usd``.
    """
    request_keys: set[bytes] = set()
    people: set[str] = set()
    tokens, most, answered = 0.0, 0.0, 0
    for item in planned:
        people.add(item.reading.person_id)
        new_keys = {bytes.fromhex(key) for key in item.request_keys()} - request_keys
        request_keys |= new_keys
        open_count = sum(key not in settled for key in new_keys)
        answered += len(new_keys) - open_count
        size = len(item.system.encode()) + len(item.transcript.encode())
        tokens += open_count * (size / BYTES_PER_TOKEN + OVERHEAD_TOKENS / 3)
        request = Request("", item.system, item.transcript, 0)
        most += open_count * highest_cost(request, config.prices)
    requests = len(request_keys) - answered
    guess = min(EXPECTED_ANSWER, config.max_tokens) + EXPECTED_SHARE * config.thinking.room
    output = round(requests * (guess if mean_output is None else mean_output))
    has_price = config.priced or config.free
    return {
        "requests": requests,
        "answered": answered,
        "people": len(people),
        "expected_input_tokens": round(tokens),
        "expected_output_tokens": output,
        "expected_usd": config.prices.cost(tokens, output) if has_price else None,
        "most_usd": most if has_price else None,
    }


def _forecast(
    planned: Iterator[Planned], config: LabelConfig, teacher: str, store_path: Path
) -> dict[str, Any]:
    """`estimate` of what a run would send now, with or without labels of before."""
    if not store_path.is_file():
        return estimate(planned, config)
    with open_store(store_path) as store:
        return _remaining(planned, config, teacher, store)


def _remaining(
    planned: Iterator[Planned], config: LabelConfig, teacher: str, store: RequestStore
) -> dict[str, Any]:
    """`estimate` of what the store does not hold yet, at the length of its answers so far."""
    again = (*config.repeat_states, *(("sent",) if config.resends else ()))
    return estimate(planned, config, store.settled(teacher, again), store.mean_output(teacher))


def _forget(thoughts: Sequence[tuple[str, str]]) -> None:
    """Thoughts that nobody asked to keep."""


def _work(
    store: RequestStore, job: DispatchJob, url: str | None, cohort_dir: Path, requests: int
) -> dict[str, Any]:
    """Recover, run, and report; the client is closed whatever happens."""
    config, teacher = job.config, job.teacher
    recovered = store.recover(teacher, repeat=config.repeat_states, resend_lost=config.resends)
    todo = requests + store.counts(teacher)["batch"]
    stopped = "complete"
    if todo:
        client = connect(config, url, cohort_dir)
        try:
            with progress_bar("Labelling") as advance:
                watched = dataclasses.replace(job, tick=step_by(advance, todo))
                stopped = _run(store, client, watched)
        finally:
            client.close()
    return {
        "stopped": stopped,
        "states": store.counts(teacher),
        "usage": store.usage(),
        "per_person": per_person(store, teacher),
        "errors": store.errors(),
        "recovered": recovered,
    }


def per_person(store: RequestStore, teacher: str) -> dict[str, dict[str, float]]:
    """Tokens and US dollars of one teacher by person: ``mean`` and ``highest`` of each.

    Answers that gave no label count too; people of equal texts share what was paid once.
    """
    rows = [figures for _, *figures in store.spending(teacher)]
    if not rows:
        return {}
    means, tops = np.mean(rows, axis=0).tolist(), np.max(rows, axis=0).tolist()
    return {
        name: {"mean": mean, "highest": top}
        for name, mean, top in zip(COSTS, means, tops, strict=True)
    }


def _run(store: RequestStore, client: Client, job: DispatchJob) -> str:
    if job.config.teacher == "simulated":
        return run_local(store, client, job)
    if job.config.batch:
        batch_client: BatchClient = client  # type: ignore[assignment]  # both real ones are
        return run_batches(store, batch_client, job)
    if store.counts(job.teacher)["batch"]:
        raise LeadlineError(
            "An earlier run left requests in batches at the provider.",
            remedy="Run with --batch to collect their answers first.",
        )
    return run_direct(store, client, job)


def connect(config: LabelConfig, url: str | None, cohort_dir: Path) -> Client:
    """The client that a config names; its package is imported only here."""
    if url is None:
        return SimulatedClient(cohort_dir)
    connection = Connection(config, url)
    if config.teacher == "anthropic":
        from leadline.teacher.anthropic_client import AnthropicClient

        return AnthropicClient(connection)
    from leadline.teacher.openai_client import OpenAIClient

    return OpenAIClient(connection)


def cohort_hash(cohort: Cohort) -> str:
    """Identity of a cohort's contents, for binding labels to it."""
    return json.dumps(table_hashes(cohort.manifest), sort_keys=True)


def _first(readings: Iterator[TeacherReading], limit: int) -> Iterator[TeacherReading]:
    for number, reading in enumerate(readings):
        if limit and number >= limit:
            return
        yield reading


def _write(
    out: Path,
    labels: pl.DataFrame,
    cohort: Cohort,
    config: LabelConfig,
    window: WindowConfig,
    report: dict[str, Any],
) -> None:
    """The table and the manifest that completes the directory, at one instant."""
    pending = out / pending_name(LABELS_FILE)
    with replacing(pending) as scratch:
        labels.write_parquet(scratch, compression="zstd")
    # Only now: a run that fails before leaves the labels of an earlier one as they were.
    manifest = write_manifest(
        out,
        kind="labels",
        command="label",
        settings={**dataclasses.asdict(config), "window": dataclasses.asdict(window)},
        inputs=table_hashes(cohort.manifest),
        files={LABELS_FILE: sha256(pending)},
        window_identity=window_identity(window),
        rubric=load_rubric(config.rubric).version,
        code=code_version(),
        simulated=cohort.simulated,
        **report,
    )
    finish_commit(out, manifest)
