"""Tables with one row an exchange: the person's words in one column, the answer in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from leadline.errors import LeadlineError
from leadline.layouts.cells import only_column
from leadline.sources.batch import ONLY, RawTurnBatch, as_identifier
from leadline.sources.config import TABLE_COLUMNS, ImportConfig, pairs
from leadline.sources.files import table_batches, table_header
from leadline.sources.names import looks_like, normal, words
from leadline.sources.people import PeopleColumns
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import KNOWN, roles_of
from leadline.sources.source import Source

ASKING = ("user_message", "user_text", "user_input", "user_prompt", "user_query", "user_utterance",
          "user", "human", "prompt", "question", "query", "input", "input_text", "message",
          "patient_message", "client_message", "human_message", "request", "utterance", "frage",
          "pregunta", "domanda", "pergunta", "patient", "client", "patient_text",
          "client_text", "patient_utterance", "client_utterance", "questiontext",
          "question_text")  # fmt: skip

ANSWERING = ("bot_message", "bot_response", "bot_text", "bot_reply", "assistant_message",
             "assistant_response", "assistant", "ai_message", "ai_response", "ai", "bot",
             "chatbot_response", "model_response", "gpt_response", "response", "completion",
             "answer", "reply", "output", "output_text", "system_response", "antwort", "respuesta",
             "risposta", "resposta", "therapist", "counselor", "therapist_text", "counselor_text",
             "therapist_response", "counselor_response", "answertext", "answer_text")  # fmt: skip

HELPERS = frozenset(("therapist", "counselor"))  # who answers, and is no program

UNANSWERED = "empty halves of exchanges, left out"


def exchange_columns(header: Sequence[str]) -> tuple[str, str] | None:
    """The column of what is asked and of what is answered; None where they are not clear."""
    names = {normal(name): name for name in header}
    asking = [names[name] for name in ASKING if name in names]
    answering = [names[name] for name in ANSWERING if name in names]
    if len(asking) > 1:  # then `user` is who wrote it
        asking = [name for name in asking if looks_like(name) != "person"]
    return (asking[0], answering[0]) if len(asking) == 1 and len(answering) == 1 else None


def paired_messages(pairs_of_texts: Any) -> list[dict[str, str]] | None:
    """The messages of a list of pairs: speaker and words (FastChat), or words and answer (Gradio).

    >>> paired_messages([["USER", "low"], ["ASSISTANT", "why?"]])[1]
    {'role': 'ASSISTANT', 'content': 'why?'}
    >>> paired_messages([["low", "why?"]])
    [{'role': 'user', 'content': 'low'}, {'role': 'assistant', 'content': 'why?'}]
    """
    if not isinstance(pairs_of_texts, list) or not pairs_of_texts:
        return None
    for pair in pairs_of_texts:
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        if not all(text is None or isinstance(text, str) for text in pair):
            return None
    if all(str(speaker).lower() in KNOWN for speaker, _ in pairs_of_texts):
        return [{"role": speaker, "content": text} for speaker, text in pairs_of_texts if text]
    return [{"role": role, "content": text} for pair in pairs_of_texts
            for role, text in zip(("user", "assistant"), pair, strict=True) if text]  # fmt: skip


def read_exchanges(source: Path, settings: ImportConfig, ledger: RejectedRows) -> Source:
    """Open a table of exchanges: each row is a turn of the person and the answer after it."""
    header = table_header(source, ledger)
    halves = exchange_columns(header)
    if halves is None:
        raise LeadlineError(
            "It is not clear which column the person wrote and which was answered.",
            remedy="Rename them to user_message and bot_message.",
            file=source,
            row=1,
        )
    columns = pairs(settings.column, "column", TABLE_COLUMNS)
    for kind in ("person", "conversation", "time"):
        name = columns.get(kind) or only_column(header, kind, halves, source)
        if name is not None:
            columns[kind] = name
    if settings.person or settings.one_person_per_conversation:
        columns.pop("person", None)
    needed_kind = "conversation" if settings.one_person_per_conversation else "person"
    if needed_kind not in columns and not settings.person:
        raise LeadlineError(
            f"The table has no column for the {needed_kind}.",
            remedy=f"Say which one it is with --column {needed_kind}=NAME, or give --person ID if "
            "all is of one.",
            file=source,
            row=1,
        )
    ledger.uses.meet(source, header)
    for kind, name in columns.items():
        ledger.uses.take(source, name, kind)
    for name, kind in zip(halves, ("words of the person", "answer to them"), strict=True):
        ledger.uses.take(source, name, kind)
    people = PeopleColumns(settings.people_column)
    batches = _batches(source, halves, columns, settings, ledger)
    return Source(batches, roles_of(settings), people, inputs=[source])


def _batches(
    source: Path,
    halves: tuple[str, str],
    columns: Mapping[str, str],
    settings: ImportConfig,
    ledger: RejectedRows,
) -> Iterator[RawTurnBatch]:
    listener = "therapist" if set(words(halves[1])) & HELPERS else "assistant"
    for frame in table_batches(source, ledger):
        conversation = pl.lit(ONLY)
        if "conversation" in columns:
            name = columns["conversation"]
            conversation = pl.lit(as_identifier(frame[name], "conversation", source))
        person = pl.lit(settings.person or None, dtype=pl.String)
        if "person" in columns:
            person = pl.lit(as_identifier(frame[columns["person"]], "person", source))
        elif not settings.person:
            person = conversation
        time = pl.col(columns["time"]) if "time" in columns else pl.lit(None, dtype=pl.String)
        parts = [
            frame.select(pl.col("__row").alias("row"), person=person, conversation=conversation,
                         speaker=pl.lit(speaker), text=pl.col(half).cast(pl.String), time=time,
                         half=pl.lit(place))
            for place, (speaker, half) in enumerate(zip(("user", listener), halves, strict=True))
        ]  # fmt: skip
        rows = pl.concat(parts).sort("row", "half", maintain_order=True).drop("half")
        ledger.account.arrived += rows.height
        empty = rows["text"].is_null() | (rows["text"].str.strip_chars() == "")
        ledger.omit(UNANSWERED, int(empty.sum()))
        yield RawTurnBatch(source, rows.filter(~empty))
