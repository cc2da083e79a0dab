"""Work through the pending requests of a store, one by one or in batches.

The order of writes is what makes a run safe to kill. Directly: mark as sent, send, settle. In
a batch: commit the intent with a token of ours, create, note the provider's id, read, settle.
A batch whose creation was cut off is looked for at the provider before its requests are let
go, so that it is not paid twice. Money: the most that a request can cost is reserved before
it is sent and replaced by its real cost after, so the limit cannot be passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from leadline.errors import LeadlineError
from leadline.teacher.client import (
    Answer,
    BatchClient,
    BatchRefused,
    Client,
    Intent,
    Interrupted,
    Uncertain,
)
from leadline.teacher.config import LabelConfig, Prices
from leadline.teacher.request_store import Outcome, RequestStore
from leadline.teacher.rubric import OVERHEAD_TOKENS, parse_rating, quotes_found
from leadline.teacher.thoughts import is_json_like
from leadline.teacher.transcript import Request

PATIENCE = 20  # failures in a row before a run stops

ATTEMPTS = 3  # of one request within batches, and of creating or reading a batch

CHUNK = 500

BATCH_BYTES = 32_000_000  # of text in one batch


@dataclass(frozen=True)
class DispatchJob:
    """What a run works through and within which limits.

    Attributes:
        teacher: whose requests of the store.
        config: prices, limits and pace.
        tick: called with the number of requests that were settled.
        keep: called with the key and the thoughts of requests that thought.
    """

    teacher: str
    config: LabelConfig
    tick: Callable[[int], None] = lambda _: None
    keep: Callable[[Sequence[tuple[str, str]]], None] = lambda _: None


def highest_cost(request: Request, prices: Prices) -> float:
    """The most US dollars that a request can cost: a token of a prompt is at least one byte."""
    size = len(request.system.encode()) + len(request.transcript.encode())
    return prices.cost(size + OVERHEAD_TOKENS, prices.max_tokens)


def judge(request: Request, answer: Answer, prices: Prices, most: float) -> Outcome:
    """What an answer is worth: a rating, or a recorded reason why there is none."""
    counted = answer.input_tokens is not None or answer.output_tokens is not None
    tokens_in, tokens_out = answer.input_tokens or 0, answer.output_tokens or 0
    if answer.state == "failed":
        at_risk = most if answer.billed else 0.0
        return Outcome("failed", error=answer.error, at_risk=at_risk)
    # A server that counts no tokens is taken to have charged all it could.
    cost = prices.cost(tokens_in, tokens_out) if counted else most
    state, error, quotes, matches = answer.state, answer.error, 0, 0
    if state == "done":
        rating = parse_rating(answer.text or "")
        if rating is None:
            state, error = "invalid", "not a rating"
        else:
            quotes, matches = quotes_found(rating, request.transcript)
    return Outcome(
        *(state, answer.text, error, tokens_in, tokens_out, cost),
        quotes=quotes,
        quotes_found=matches,
        reasoning_tokens=answer.reasoning_tokens or 0,
        thoughts=answer.thoughts,
    )


def _without_stray_thoughts(outcome: Outcome) -> Outcome:
    """No reply of which it cannot be told whether it is a thought: some servers drop its marks."""
    doubtful = outcome.state in ("invalid", "truncated") and not is_json_like(outcome.reply or "")
    return replace(outcome, reply=None) if doubtful else outcome


def _settle(
    store: RequestStore,
    job: DispatchJob,
    outcomes: Sequence[tuple[str, Outcome]],
    batch: str | None = None,
) -> None:
    """Record outcomes; thoughts go another way than answers, and after what was paid for."""
    if job.config.thinking.on:
        outcomes = [(key, _without_stray_thoughts(outcome)) for key, outcome in outcomes]
    store.settle(outcomes, batch=batch)
    thoughts = [(key, outcome.thoughts) for key, outcome in outcomes if outcome.thoughts]
    if thoughts:
        job.keep(thoughts)
    job.tick(sum(outcome.state != "pending" for _, outcome in outcomes))


def _afford(store: RequestStore, job: DispatchJob, requests: Sequence[Request]) -> list[Request]:
    """The first of `requests` whose highest costs fit into what is left."""
    if job.config.max_usd is None:
        return list(requests)
    budget = job.config.max_usd - store.committed()
    affordable = []
    for request in requests:
        budget -= highest_cost(request, job.config.prices)
        if budget < 0:
            break
        affordable.append(request)
    return affordable


def run_direct(store: RequestStore, client: Client, job: DispatchJob) -> str:
    """Send pending requests one by one until none is left.

    Returns:
        ``"complete"`` or ``"max-usd"``.

    Raises:
        LeadlineError: the provider refuses every request, or `PATIENCE` fail in a row.
    """
    under_way: dict[Future[Answer], tuple[Request, float]] = {}
    failures = 0
    with ThreadPoolExecutor(job.config.concurrency) as pool:
        try:
            while True:
                waiting = store.pending(job.teacher, job.config.concurrency - len(under_way))
                affordable = _afford(store, job, waiting)
                _send(store, client, job, pool, under_way, affordable)
                if not under_way:
                    return "max-usd" if waiting else "complete"
                failures = _settle_finished(store, job, under_way, failures)
                if failures >= PATIENCE:
                    codes = ", ".join(list(store.errors())[:3])
                    raise LeadlineError(
                        f"The teacher failed {failures} times in a row ({codes}).",
                        remedy="Wait, then run it again. A server that answers http 400 or 422 "
                        "may enforce no schema (turn --structured off), or the model does not "
                        "take this --reasoning.",
                    )
        finally:
            # Also after an interrupt: what is under way was paid for, so its answer is kept.
            while under_way:
                _settle_finished(store, job, under_way, failures, stopping=True)


def _send(
    store: RequestStore,
    client: Client,
    job: DispatchJob,
    pool: ThreadPoolExecutor,
    under_way: dict[Future[Answer], tuple[Request, float]],
    requests: Sequence[Request],
) -> None:
    reserved = [(request, highest_cost(request, job.config.prices)) for request in requests]
    store.send([(request.key, most) for request, most in reserved])
    for request, most in reserved:
        under_way[pool.submit(client.ask, request)] = (request, most)


def _settle_finished(
    store: RequestStore,
    job: DispatchJob,
    under_way: dict[Future[Answer], tuple[Request, float]],
    failures: int,
    *,
    stopping: bool = False,
) -> int:
    """Record what has come back; return the number of failures in a row."""
    finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
    outcomes = []
    stop: LeadlineError | None = None
    for future in finished:
        request, most = under_way.pop(future)
        problem = future.exception()
        if isinstance(problem, LeadlineError):
            stop = problem
            outcomes.append((request.key, Outcome("pending")))
            continue
        outcome = judge(request, future.result(), job.config.prices, most)
        failures = failures + 1 if outcome.state == "failed" else 0
        outcomes.append((request.key, outcome))
    _settle(store, job, outcomes)
    if stop is not None and not stopping:
        raise stop
    return failures


def run_local(store: RequestStore, client: Client, job: DispatchJob) -> str:
    """Answer pending requests that cost nothing and leave no process, in large chunks."""
    while requests := store.pending(job.teacher, CHUNK):
        store.send([(request.key, 0.0) for request in requests])
        outcomes = [
            (request.key, judge(request, client.ask(request), job.config.prices, 0.0))
            for request in requests
        ]
        _settle(store, job, outcomes)
    return "complete"


# Batches


def run_batches(store: RequestStore, client: BatchClient, job: DispatchJob) -> str:
    """Send pending requests in batches and wait for the answers.

    Batches of an earlier, killed run are taken up first.

    Returns:
        ``"complete"`` or ``"max-usd"``.

    Raises:
        LeadlineError: the provider refuses, or stays out of reach.
    """
    trouble = 0
    while True:
        trouble = _take_up(store, client, job, trouble)
        requests = _next_batch(store, job)
        if requests:
            _create(store, client, job, requests)
            continue
        waiting = [item for item in store.batches(job.teacher) if item["state"] == "open"]
        if not waiting:
            return "max-usd" if store.pending(job.teacher, 1) else "complete"
        ended = [item for item in waiting if _patiently(job, client.batch_ended, item)]
        for item in ended:
            _collect(store, client, job, item)
        if not ended:
            time.sleep(job.config.poll_seconds)


def _take_up(store: RequestStore, client: BatchClient, job: DispatchJob, trouble: int) -> int:
    """Settle the fate of batches whose creation is uncertain; return failures in a row."""
    batches = store.batches(job.teacher)
    uncertain = [item for item in batches if item["state"] == "creating"]
    if not uncertain:
        return 0
    if trouble >= ATTEMPTS:
        raise LeadlineError(
            "The provider does not take batches at the moment.",
            remedy="Wait, then run the same command again; nothing was lost.",
        )
    batch_ids = {item["provider_id"] for item in batches if item["provider_id"]}
    for item in uncertain:
        token = item["token"]
        intent = Intent(token, item["size"], item["started"])
        batch_id = _retrying(job)(client.find_batch, intent, batch_ids)
        if batch_id:
            batch_ids.add(batch_id)
            store.set_batch(token, "open", batch_id)
        else:
            store.release_batch(token)
            store.set_batch(token, "dropped")
            time.sleep(min(job.config.poll_seconds * 2**trouble, 300.0))
    return trouble + 1


def _next_batch(store: RequestStore, job: DispatchJob) -> list[Request]:
    """Pending requests that fit into one batch and into the money that is left."""
    batch: list[Request] = []
    size = 0
    for request in store.pending(job.teacher, job.config.batch_size):
        size += len(request.system) + len(request.transcript)
        if batch and size > BATCH_BYTES:
            break
        batch.append(request)
    return _afford(store, job, batch)


def _create(
    store: RequestStore, client: BatchClient, job: DispatchJob, requests: list[Request]
) -> None:
    reservations = [(request.key, highest_cost(request, job.config.prices)) for request in requests]
    token = store.begin_batch(job.teacher, reservations)
    try:
        provider_id = client.create_batch(token, requests)
    except Uncertain:
        return  # stays "creating"; the next round looks for it
    except LeadlineError:
        store.release_batch(token)
        store.set_batch(token, "dropped")
        raise
    store.set_batch(token, "open", provider_id)


def _collect(
    store: RequestStore, client: BatchClient, job: DispatchJob, batch: dict[str, Any]
) -> None:
    """Read a batch's results into the store; reading it again changes nothing."""
    token = batch["token"]
    if store.open_members(token) == 0:
        store.set_batch(token, "collected")
        return
    try:
        result_count = _retrying(job)(_read_batch, store, client, job, token, batch["provider_id"])
    except BatchRefused as refused:
        store.release_batch(token)
        store.set_batch(token, "dropped")
        raise LeadlineError(
            f"The provider refused the batch: {refused}.",
            remedy="Check --model and --batch-size, then run the same command again.",
        ) from refused
    if result_count and store.open_members(token) == batch["size"]:
        store.disown_batch(token)  # it answers nothing that we asked
        return
    # Not pending: a request without a result is tried again by the next run, not for ever.
    job.tick(store.release_batch(token, "failed", "no result"))
    store.set_batch(token, "collected")


def _read_batch(
    store: RequestStore, client: BatchClient, job: DispatchJob, token: str, provider_id: str
) -> int:
    """Settle every result that is still open; return how many results there were."""
    result_count = 0
    for chunk in _chunks(client.batch_answers(provider_id)):
        members = store.members(token, [key for key, _ in chunk])
        outcomes = []
        for key, answer in chunk:
            if key not in members:
                continue
            transcript, most, tries = members[key]
            outcome = judge(Request(key, "", transcript, 0), answer, job.config.prices, most)
            if outcome.state == "failed" and answer.again and tries < ATTEMPTS:
                outcome = Outcome("pending", error=answer.error, at_risk=outcome.at_risk)
            outcomes.append((key, outcome))
        _settle(store, job, outcomes, batch=token)
        result_count += len(chunk)
    return result_count


def _chunks(answers: Iterator[tuple[str, Answer]]) -> Iterator[list[tuple[str, Answer]]]:
    while chunk := list(islice(answers, CHUNK)):
        yield chunk


def _patiently(job: DispatchJob, ended: Callable[[str], bool], item: dict[str, Any]) -> bool:
    return _retrying(job)(ended, item["provider_id"])


def _retrying(job: DispatchJob) -> Retrying:
    """Try again after `Interrupted`; in the end say that the run can be continued."""

    def give_up(_: RetryCallState) -> None:
        raise LeadlineError(
            "The connection to the provider broke several times while a batch was read.",
            remedy="Run the same command again; answers that were read are kept.",
        )

    return Retrying(
        retry=retry_if_exception_type(Interrupted),
        stop=stop_after_attempt(ATTEMPTS + 2),
        wait=wait_exponential(multiplier=min(job.config.poll_seconds, 1.0), max=60),
        retry_error_callback=give_up,
    )
