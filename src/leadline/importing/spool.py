"""From raw turns to `turns.parquet`: check, order, number, without holding the text in memory.

Raw turns come in batches. Each is checked as columns and laid aside on disk; only the keys of
a row (conversation, position, time: about 25 bytes) stay in memory. When all are in, the keys
give each row its place, and the text is written in that order, bucket by bucket. So memory
is bounded by the keys and not by the text, whatever the order of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from leadline.errors import LeadlineError
from leadline.sources.batch import ONLY, RawTurnBatch, as_identifier
from leadline.sources.config import ROLES, ImportConfig
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import Roles
from leadline.sources.times import (
    FIRST_EPOCH,
    FUTURE,
    TIME_REMEDY,
    UNREADABLE,
    check_zones,
    end_of_day,
    latest,
    to_utc,
)
from leadline.tables import TURNS, type_name

BUCKET = 500_000  # rows that are sorted and written at a time


def clean(
    batch: RawTurnBatch, roles: Roles, settings: ImportConfig, ledger: RejectedRows
) -> pl.DataFrame:
    """Check a batch; return the good rows with roles as codes and times in UTC.

    A turn with a date and no time is taken as said at the end of its day: nothing is then read
    for a PHQ-9 that may have been answered before it.

    Returns:
        Columns row, person, conversation, turn (Int64, may be null), role (UInt8), text, time; and
        offset where times are offsets into something.
    """
    raw, file = batch.rows, batch.file
    person = as_identifier(raw["person"], "person", file)
    speaker = as_identifier(raw["speaker"], "role", file)
    text = raw["text"]
    if text.dtype not in (pl.String, pl.Null) and not isinstance(
        text.dtype, pl.Categorical | pl.Enum
    ):
        raise LeadlineError(
            f"The text column holds {type_name(text.dtype)}, not text.",
            remedy="Say which column holds the text with --column text=NAME.",
            file=file,
        )
    frame = pl.DataFrame(
        {
            "row": raw["row"],
            "person": person,
            "conversation": _conversation(raw, file),
            "turn": _position(raw, file),
            "speaker": speaker,
            "text": text.cast(pl.String),
        }
    )
    frame = frame.hstack(_times(raw, settings, file))
    frame = _late_in_their_day(_reject_bad(frame, settings, ledger, file), settings, ledger)
    role = roles.column(frame["speaker"], frame["row"], file)
    columns = ("row", "person", "conversation", "turn", role.alias("role"), "text", "time")
    if frame["offset"].is_not_null().any():
        ledger.note(OFFSETS, frame.height - frame["offset"].null_count())
        return frame.select(*columns, "offset")
    return frame.select(*columns)


def _conversation(raw: pl.DataFrame, file: Path) -> pl.Series:
    if "conversation" in raw.columns:
        return as_identifier(raw["conversation"], "conversation", file)
    return pl.Series("conversation", [ONLY], dtype=pl.String).new_from_index(0, raw.height)


def _position(raw: pl.DataFrame, file: Path) -> pl.Series:
    if "turn" not in raw.columns:
        return pl.Series("turn", [None], dtype=pl.Int64).new_from_index(0, raw.height)
    values = raw["turn"]
    number = values.cast(pl.Float64, strict=False) if values.dtype != pl.Boolean else None
    bad = None if number is None else number.is_null() | (number != number.floor())
    if number is None or (bad is not None and bad.any()):
        row = None if bad is None else raw["row"].filter(bad)[0]
        raise LeadlineError(
            "The position of the turn is not a whole number.",
            remedy="Correct it, or leave --column turn=... out: then the order of rows counts.",
            file=file,
            row=row,
        )
    return number.cast(pl.Int64)


def _times(raw: pl.DataFrame, settings: ImportConfig, file: Path) -> pl.DataFrame:
    if "time" not in raw.columns:
        return to_utc(pl.Series("time", [None] * raw.height, dtype=pl.Null), "")
    times = to_utc(raw["time"], settings.timezone, settings.date_order)
    check_zones(times, raw["row"], file)
    return times


def _late_in_their_day(
    frame: pl.DataFrame, settings: ImportConfig, ledger: RejectedRows
) -> pl.DataFrame:
    """Dates without a time as the end of their day, after the times were checked as given."""
    by_day = frame["date_only"].fill_null(False)
    if not by_day.any():
        return frame
    ledger.note("turn dates without a time, taken as the end of the day", int(by_day.sum()))
    ends = end_of_day(frame["time"], settings.timezone)
    return frame.with_columns(time=pl.when(by_day).then(ends).otherwise("time"))


def _reject_bad(
    frame: pl.DataFrame, settings: ImportConfig, ledger: RejectedRows, file: Path
) -> pl.DataFrame:
    limit = settings.max_turn_chars
    text = pl.col("text")
    checks = (
        (_blank("person"), "The person identifier is missing.", "Fill it in."),
        (_blank("conversation"), "The conversation identifier is missing.", "Fill it in."),
        (_blank("speaker"), "The role is missing.", "Say who speaks."),
        (_blank("text"), "The text is empty.", "Remove the row."),
        (
            (text.str.len_bytes() > limit) & (text.str.len_chars() > limit),
            f"The text is longer than {limit:,} characters.",
            "Split the turn, or raise --max-turn-chars.",
        ),
        (pl.col("bad"), UNREADABLE, TIME_REMEDY),
        (pl.col("time") > latest(), FUTURE, TIME_REMEDY),
    )
    reason = pl.lit(None, dtype=pl.Int8)
    for number, (mask, _, _) in reversed(list(enumerate(checks))):
        reason = pl.when(mask).then(pl.lit(number, dtype=pl.Int8)).otherwise(reason)
    reasons = frame.select(reason.alias("reason"))["reason"]
    if reasons.null_count() == frame.height:
        return frame
    marked = frame.select("row", reason=reasons).filter(pl.col("reason").is_not_null())
    for row, number in marked.iter_rows():
        ledger.reject(file, row, *checks[number][1:], 1)
    return frame.filter(reasons.is_null())


def _blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars().str.len_bytes() == 0)


OFFSETS = "times that are offsets and no dates; they order turns and date nothing"


class Spool:
    """Checked turns laid aside on disk, and the keys that will order them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.files: list[tuple[Path, Path]] = []  # laid aside, source
        self.keys: list[pl.DataFrame] = []
        self.people: dict[str, int] = {}
        self.conversations: dict[tuple[str, str], int] = {}
        self.owner: list[int] = []  # conversation -> person
        self._voices = np.zeros(1024, np.uint8)
        self._counted = 0  # conversations whose voices are noted
        self.moved: dict[int, int] = {}  # conversation -> the one that its rows are in
        self.gone: set[int] = set()  # conversations that are left out
        self.height = 0
        self.undated = 0  # rows without a date

    @property
    def voices(self) -> npt.NDArray[np.uint8]:
        """Conversation -> roles that speak in it, each a bit."""
        return self._voices[: len(self.owner)]

    def add(self, file: Path, rows: pl.DataFrame) -> None:
        """Lay the rows that `clean` returned aside."""
        if not rows.height:
            return
        pairs = rows.select("person", "conversation")
        unique = pairs.unique(maintain_order=True)
        codes = [self._code(*pair) for pair in unique.iter_rows()]
        unique = unique.with_columns(code=pl.Series(codes, dtype=pl.UInt32))
        code = pairs.join(unique, on=["person", "conversation"], how="left", maintain_order="left")[
            "code"
        ]
        if len(self.owner) > len(self._voices):
            self._voices = np.resize(self._voices, 2 * len(self.owner))
            self._voices[self._counted :] = 0
        self._counted = len(self.owner)
        bits = np.left_shift(1, rows["role"].to_numpy()).astype(np.uint8)
        np.bitwise_or.at(self._voices, code.to_numpy(), bits)
        path = self.directory / f"{len(self.files):06}.arrow"
        rows.select("row", "role", "text", "time").with_columns(code=code).write_ipc(path)
        time = rows["time"]
        if "offset" in rows.columns:  # offsets order as times of 1970, before every date
            time = time.fill_null(
                rows["offset"].cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
            )
        self.keys.append(pl.DataFrame({"code": code, "turn": rows["turn"], "time": time}))
        self.files.append((path, file))
        self.height += rows.height
        self.undated += rows["time"].null_count()

    def _code(self, person: str, conversation: str) -> int:
        code = self.conversations.get((person, conversation))
        if code is not None:
            return code
        self.owner.append(self.people.setdefault(person, len(self.people)))
        return self.conversations.setdefault((person, conversation), len(self.conversations))

    def move(self, conversations: Mapping[int, int]) -> None:
        """Put the rows of some conversations into others."""
        for old, new in conversations.items():
            self.voices[new] |= self.voices[old]
            self.voices[old] = 0
        self.keys = [
            keys.with_columns(code=pl.col("code").replace(dict(conversations)))
            for keys in self.keys
        ]
        self.moved |= conversations

    def leave(self, conversation: int, ledger: RejectedRows, problem: str, remedy: str) -> None:
        """Leave the rows of a conversation out as bad."""
        position = 0
        for keys in self.keys:
            for place in keys.with_row_index().filter(pl.col("code") == conversation)["index"]:
                file, row = self.locate(position + place)
                ledger.reject(file, row, problem, remedy, 1)
            position += keys.height
        self.gone.add(conversation)

    def persons(self) -> list[str]:
        """People with at least one row, in the order in which they were met."""
        names = list(self.people)
        codes = sorted({self.owner[code] for code, voices in enumerate(self.voices)
                        if voices and code not in self.gone})  # fmt: skip
        return [names[code] for code in codes]

    def locate(self, position: int) -> tuple[Path, Any]:
        """Source file and row of the turn that was laid aside at `position`."""
        for (path, file), keys in zip(self.files, self.keys, strict=True):
            if position < keys.height:
                return file, pl.read_ipc(path, columns=["row"])["row"][position]
            position -= keys.height
        raise IndexError(position)


class Order(NamedTuple):
    """Where each row that was laid aside goes: `place` (-1: left out) and its `turn`."""

    place: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int32]
    height: int


def order(spool: Spool, ledger: RejectedRows) -> Order:
    """Place people in order of appearance, their dated conversations by first time, then the
    undated in order of appearance; within a conversation by position, else time, else row.

    Positions that occur twice in a conversation are bad rows.
    """
    keys = pl.concat(spool.keys, rechunk=True)
    first = keys.group_by("code").agg(
        first=pl.col("time").min(), dated=pl.col("time").is_not_null().all()
    )
    is_date = pl.col("first").dt.epoch("s") >= FIRST_EPOCH
    first = first.with_columns(first=pl.when(is_date).then("first"))
    owners = pl.DataFrame({"person": spool.owner}, schema={"person": pl.UInt32})
    owners = owners.with_row_index("code")
    first = owners.join(first, on="code", how="left", maintain_order="left")
    first = first.with_columns(pl.col("dated").fill_null(False))
    ranked = first.sort("person", "first", "code", nulls_last=True)["code"]
    rank = np.empty(len(ranked), np.uint32)
    rank[ranked.to_numpy()] = np.arange(len(ranked), dtype=np.uint32)
    code = keys["code"].to_numpy()
    by_time = pl.when(pl.Series(first["dated"].to_numpy()[code])).then(pl.col("time").to_physical())
    within = keys.select(pl.coalesce("turn", by_time, pl.lit(0))).to_series().to_numpy()
    row_rank = rank[code]
    sorted_rows = np.lexsort((within, row_rank))
    has_turn = keys["turn"].is_not_null().to_numpy()
    del keys, code
    ranks, positions = row_rank[sorted_rows], within[sorted_rows]
    twice = np.zeros(len(ranks), bool)
    twice[1:] = (ranks[1:] == ranks[:-1]) & (positions[1:] == positions[:-1])
    twice &= has_turn[sorted_rows]
    if spool.gone:
        gone = np.isin(ranked.to_numpy()[ranks], list(spool.gone))
        sorted_rows, ranks, twice = sorted_rows[~gone], ranks[~gone], twice[~gone]
    for position in sorted_rows[twice]:
        ledger.reject(
            *spool.locate(int(position)),
            "This position occurs twice in the conversation.",
            "Give each turn of a conversation its own position.",
            1,
        )
    unique_rows, ranks = sorted_rows[~twice], ranks[~twice]
    return _numbered(unique_rows, ranks, spool.height)


def _numbered(
    sorted_rows: npt.NDArray[np.int64], ranks: npt.NDArray[np.uint32], height: int
) -> Order:
    """Places, and turn numbers that count from 0 in each conversation."""
    index = np.arange(len(sorted_rows), dtype=np.int64)
    starts = np.ones(len(sorted_rows), bool)
    starts[1:] = ranks[1:] != ranks[:-1]
    begin = np.maximum.accumulate(np.where(starts, index, 0))
    place = np.full(height, -1, np.int64)
    turn = np.zeros(height, np.int32)
    place[sorted_rows] = index
    turn[sorted_rows] = (index - begin).astype(np.int32)
    return Order(place, turn, len(sorted_rows))


def write_turns(spool: Spool, ordered: Order, path: Path) -> None:
    """Write `turns.parquet` in its order, a bucket of rows at a time."""
    names = pl.DataFrame(
        {
            "person_id": [person for person, _ in spool.conversations],
            "conversation_id": [conversation for _, conversation in spool.conversations],
        },
        schema={"person_id": pl.String, "conversation_id": pl.String},
    )
    in_place = bool(np.all(ordered.place == np.arange(spool.height)))
    pieces = _laid_aside(spool, ordered) if in_place else _buckets(spool, ordered)
    schema = pl.DataFrame(schema=TURNS).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for piece in pieces:
            table = _finish(piece, names).to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write_table(pa.table(table).cast(schema), row_group_size=BUCKET)


def _finish(piece: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    identifiers = names[piece["code"]]
    role = pl.Series("role", ROLES)[piece["role"]]
    return pl.DataFrame(
        [
            identifiers["person_id"],
            identifiers["conversation_id"],
            piece["turn"],
            role,
            piece["text"],
            piece["time"],
        ]
    ).select(pl.col(name).cast(kind) for name, kind in TURNS.items())


def _laid_aside(spool: Spool, ordered: Order) -> Iterator[pl.DataFrame]:
    """What was laid aside, each row with its place and turn, without rows left out."""
    start = 0
    for (path, _), keys in zip(spool.files, spool.keys, strict=True):
        stop = start + keys.height
        piece = pl.read_ipc(path)
        if spool.moved:
            piece = piece.with_columns(pl.col("code").replace(spool.moved))
        piece = piece.with_columns(
            place=pl.Series(ordered.place[start:stop]), turn=pl.Series(ordered.turn[start:stop])
        )
        yield piece.filter(pl.col("place") >= 0)
        path.unlink()
        start = stop


def _buckets(spool: Spool, ordered: Order) -> Iterator[pl.DataFrame]:
    """Buckets of `BUCKET` places: rows are dealt to buckets on disk, then each is sorted."""
    count = -(-ordered.height // BUCKET)
    parts: list[list[Path]] = [[] for _ in range(count)]
    for number, piece in enumerate(_laid_aside(spool, ordered)):
        piece = piece.drop("row").with_columns(bucket=(pl.col("place") // BUCKET).cast(pl.Int32))
        for (bucket,), rows in piece.partition_by("bucket", as_dict=True).items():
            part = spool.directory / f"{number:06}-{bucket:06}.part"
            rows.drop("bucket").write_ipc(part)
            parts[int(bucket)].append(part)
    for paths in parts:
        yield pl.concat(pl.read_ipc(part) for part in paths).sort("place")
        for part in paths:
            part.unlink()
