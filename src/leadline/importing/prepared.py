"""Raw turns before they are checked: without what was not said, dialogues in one turn split.

What a reader of a layout could not tell by its keys is told here by speakers and words, for all
layouts alike: answers of tools, texts that stand for a deleted message, reasoning before the words
of a model, whole dialogues inside a turn of the person.
"""

from __future__ import annotations

import polars as pl

from leadline.layouts.cells import split_rows
from leadline.layouts.unsaid import (
    INLINE_CUT,
    INLINE_MARKS,
    PLACEHOLDERS,
    REASONING,
    ROLE_WORDS,
    without_reasoning,
)
from leadline.sources.batch import NOBODY, RawTurnBatch
from leadline.sources.config import ImportConfig
from leadline.sources.rejects import RejectedRows
from leadline.sources.source import Source

LENGTHS = sorted({len(text.encode()) for text in PLACEHOLDERS})


def prepared(
    batch: RawTurnBatch, parts: Source, settings: ImportConfig, ledger: RejectedRows
) -> pl.DataFrame:
    """Raw turns with whole dialogues split or asked about, and nameless authors marked as such."""
    rows = batch.rows
    speakers = rows["speaker"]
    if rows.schema["text"] == pl.String and speakers.dtype == pl.String:
        rows = _said(rows, settings, ledger)
        speakers = rows["speaker"]
        users = speakers.is_in(parts.roles.person_words(speakers.unique().drop_nulls()))
        users = users.fill_null(False)
        reasoned = ~users & rows["text"].str.contains_any(list(INLINE_MARKS)).fill_null(False)
        if reasoned.any():
            rows, users = _without_reasoning(rows, users, reasoned, ledger)
        rows = split_rows(rows, users, settings, ledger, batch.file)
    if parts.shared_conversations and rows.schema["person"] == pl.String:
        absent = pl.col("person").is_null() & pl.col("conversation").is_not_null()
        if rows.select(absent.any()).item():
            rows = rows.with_columns(
                person=pl.when(absent).then(pl.lit(NOBODY)).otherwise("person")
            )
    return rows


def _said(rows: pl.DataFrame, settings: ImportConfig, ledger: RejectedRows) -> pl.DataFrame:
    """Rows without speakers that are tools, and without texts that stand for a message."""
    speakers = rows["speaker"].unique().drop_nulls().to_list()
    named = settings.roles()
    reasons = {word: why for word in speakers
               if word not in named and (why := ROLE_WORDS.get(word.lower()))}  # fmt: skip
    for word, why in reasons.items():
        others = rows["speaker"].ne_missing(word)
        ledger.omit(why, rows.height - int(others.sum()))
        rows = rows.filter(others)
    short = rows["text"].str.len_bytes().is_in(LENGTHS).fill_null(False)
    if not short.any():
        return rows
    texts = rows["text"].filter(short).str.to_lowercase()
    hits = texts.is_in(list(PLACEHOLDERS))
    if not hits.any():
        return rows
    for text, count in texts.filter(hits).value_counts().iter_rows():
        ledger.omit(PLACEHOLDERS[text], count)
    return rows.filter(~short.scatter(short.arg_true(), hits))


def _without_reasoning(
    rows: pl.DataFrame, users: pl.Series, reasoned: pl.Series, ledger: RejectedRows
) -> tuple[pl.DataFrame, pl.Series]:
    """Rows of others than the person without reasoning that stands before their words."""
    cut = rows["text"].to_list()
    for place in reasoned.arg_true():
        cut[place] = without_reasoning(cut[place])
    texts = pl.Series("text", cut, dtype=pl.String)
    is_cut = reasoned & (texts != rows["text"])
    is_bare = is_cut & (texts.str.strip_chars() == "")
    ledger.note(INLINE_CUT, int(is_cut.sum()) - int(is_bare.sum()))
    ledger.omit(REASONING, int(is_bare.sum()))
    return rows.with_columns(texts).filter(~is_bare), users.filter(~is_bare)
