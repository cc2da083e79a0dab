"""One person under two ids: people whose own words are nearly the same, as groups of ids.

A person who is trained on under one id and estimated under another is estimated from their own
label. Copies are found by the shingles of what a person said (Broder, On the resemblance and
containment of documents, 1997): every run of 5 words, or of 10 characters in scripts that put no
spaces between words. Shared shingles are counted for each pair of people, not estimated from a
sketch, because what matters is *containment* (a copy may have been cut) of shingles that *few
people share* (a greeting, a prompt that was quoted, a phrase of the day are no evidence).

What tells a copy from two people who say the same things is the order: shingles that cross from
one turn into the next are shared by people who say the same things in the same sequence, and by
hardly anyone else. People whose text is a single turn are held to the words alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.about import code_version
from leadline.artefact import replacing

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"

TOKEN = rf"[{UNSPACED}]|[\p{{L}}\p{{M}}\p{{N}}&&[^{UNSPACED}]]+"

WORDS, CHARACTERS = 5, 10  # of a shingle

COMMON = 20
"""Most people who may share a shingle that counts; a tenth of a small cohort, at least 4."""

SAME_TEXT = 10  # shingles from which two texts that are wholly the same are copies

IN_ORDER, ORDER_RUN = 0.25, 5
"""Share of the rare shingles, inside turns and across turns, that a copy has from another text in
order, and how many across turns. Two turns in sequence have four in common."""

ALL_WORDS, WORD_RUN = 0.6, 30
"""Share of the rare shingles inside turns that makes a copy whatever the order, and how many."""

ONE_TURN, ONE_TURN_RUN = 0.35, 10
"""The same where one of the texts is a single turn, which has no order to go by."""

LONG_RUN = (24, 60)
"""Rare shingles across turns and inside turns that two people have in common only if a whole
conversation of one, six turns or more, stands in the text of the other."""

PASS_SHINGLES = 2_000_000  # counted at once: about 300 MB

BLOCK_TURNS = 50_000  # cut into words at once

CACHE = "near_copies.parquet"

COPIES = pl.Schema({"person_id": pl.String(), "group": pl.String()})

CACHE_TURNS = 200_000  # fewer are searched in a second or two

Codes = npt.NDArray[np.uint64]

People = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Shingles:
    """What people said as shingles, in the order in which they said it.

    Attributes:
        names: people with user turns, in the order of the table.
        person: row of `names` of each shingle, ascending, shape (S,).
        code: hash of each; odd if it crosses from one turn into the next, shape (S,).
    """

    names: list[str]
    person: People
    code: Codes

    @classmethod
    def of(cls, turns: pl.DataFrame) -> Shingles:
        """The shingles of the user turns of `turns`, whose rows of a person lie together."""
        user_turns = turns.filter(pl.col("role") == "user").select("person_id", "text")
        runs = user_turns["person_id"].rle().struct.unnest()
        names, ends = runs["value"].to_list(), runs["len"].cum_sum().to_numpy()
        pieces: list[tuple[People, Codes]] = []
        first = 0
        while first < len(names):
            begin = int(ends[first - 1]) if first else 0
            stop = max(int(np.searchsorted(ends, begin + BLOCK_TURNS, side="right")), first + 1)
            block = user_turns[begin : int(ends[stop - 1])]
            person, code = _block_shingles(block)
            pieces.append((person + np.uint32(first), code))
            first = stop
        if not pieces:
            return cls([], np.empty(0, np.uint32), np.empty(0, np.uint64))
        people, codes = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return cls(names, people, codes)


def _block_shingles(block: pl.DataFrame) -> tuple[People, Codes]:
    """Person (a row of the block's people) and code of each shingle of a block of user turns."""
    unspaced = bool(block["text"].str.contains(f"[{UNSPACED}]").any())
    text = pl.col("text").str.normalize("NFKC").str.to_lowercase()
    tokens = (
        block.lazy()
        .select(
            person=pl.col("person_id").rle_id(),
            turn=pl.int_range(pl.len(), dtype=pl.UInt32),
            token=text.str.extract_all(TOKEN),
        )
        .explode("token")
        .drop_nulls("token")
        .with_columns(
            code=pl.col("token").hash(0),
            single=pl.col("token").str.contains(f"^[{UNSPACED}]") if unspaced else pl.lit(False),
        )
        .select("person", "turn", "code", "single")
        .collect()
    )
    person, turn = tokens["person"].to_numpy(), tokens["turn"].to_numpy()
    code, is_whole = _windows(tokens["code"].to_numpy(), person, turn, WORDS)
    if unspaced:
        longer, is_long = _windows(tokens["code"].to_numpy(), person, turn, CHARACTERS)
        single = tokens["single"].to_numpy()
        code, is_whole = np.where(single, longer, code), np.where(single, is_long, is_whole)
    return person[is_whole].astype(np.uint32), code[is_whole]


def _windows(
    token: Codes, person: People, turn: People, width: int
) -> tuple[Codes, npt.NDArray[np.bool_]]:
    """Code of the `width` tokens from each token on, and whether they are all of one person."""
    count = len(token) - width + 1
    out, is_whole = np.zeros(len(token), np.uint64), np.zeros(len(token), bool)
    if count <= 0:
        return out, is_whole
    code = out[:count]
    for step in range(width):  # multiply and mix, as hash functions do; overflow is meant
        code *= np.uint64(0x9E3779B97F4A7C15)
        code ^= token[step : step + count]
        code ^= code >> np.uint64(29)
    crosses = (turn[:count] != turn[width - 1 :]).astype(np.uint64)
    code &= ~np.uint64(1)
    code |= crosses
    is_whole[:count] = person[:count] == person[width - 1 :]
    return out, is_whole


def near_copies(turns: pl.DataFrame) -> dict[str, str]:
    """Groups of people whose words are near-copies of one another.

    Args:
        turns: table of `tables.TURNS`.

    Returns:
        Person -> the first id of their group, in the order of text, for everyone in a group of
        two or more; others are absent. Who is a copy of a copy is in the group too.
    """
    shingles = Shingles.of(turns)
    twins = _same_text(shingles)
    if len(twins):  # one of the same texts stands for all, else they look common
        others = np.zeros(len(shingles.names), bool)
        others[twins[:, 1]] = True
        first = ~others[shingles.person]
        shingles = Shingles(shingles.names, shingles.person[first], shingles.code[first])
    pairs = copied_pairs(shingles).select("person", "other").to_numpy().astype(np.int64)
    return _groups(np.concatenate([twins, pairs]), shingles.names)


def _same_text(shingles: Shingles) -> npt.NDArray[np.int64]:
    """Pairs of rows (first of a text, another of the same text), shape (pairs, 2)."""
    rows, starts, counts = np.unique(shingles.person, return_index=True, return_counts=True)
    if not len(rows):
        return np.empty((0, 2), np.int64)
    text_code = np.add.reduceat(shingles.code, starts)  # of 64 bits, so that chance plays no part
    texts = pl.DataFrame({"row": rows.astype(np.int64), "text": text_code, "count": counts})
    pairs = texts.filter(pl.col("count") >= SAME_TEXT).select(
        pl.col("row").first().over("text", "count").alias("first"), "row"
    )
    return pairs.filter(pl.col("first") != pl.col("row")).to_numpy().astype(np.int64)


def copied_pairs(shingles: Shingles) -> pl.DataFrame:
    """Pairs of people of whom one has nearly all, or a long run, of the words of the other.

    Returns:
        A table with person and other (rows of `Shingles.names`), inside and across (rare
        shingles in common inside turns and across turns), and share_inside and share_across (of
        those of whoever has fewer).
    """
    people = len(shingles.names)
    common = min(COMMON, max(4, people // 10))
    passes = len(shingles.code) // PASS_SHINGLES + 1
    pass_of = (shingles.code >> np.uint64(48)).astype(np.uint16) % np.uint16(passes)
    counts = np.zeros((2, people), np.int64)
    parts = []
    for number in range(passes):
        chosen = pass_of == number
        table = pl.DataFrame({"person": shingles.person[chosen], "code": shingles.code[chosen]})
        rare = (
            table.unique()
            .with_columns(sharers=pl.len().over("code"))
            .filter(pl.col("sharers") <= common)
        )
        for side in (0, 1):
            of_side = rare.filter(pl.col("code") % 2 == side)["person"].to_numpy()
            counts[side] += np.bincount(of_side, minlength=people)
        parts.append(_shared(rare.filter(pl.col("sharers") > 1).select("person", "code")))
    pairs = pl.concat(parts).group_by("person", "other").agg(pl.all().sum())
    rows = [pairs[side].to_numpy() for side in ("person", "other")]
    fewer = np.minimum(counts[:, rows[0]], counts[:, rows[1]])
    pairs = pairs.with_columns(
        share_inside=pl.col("inside") / pl.Series(np.maximum(fewer[0], 1)),
        share_across=pl.col("across") / pl.Series(np.maximum(fewer[1], 1)),
        one_turn=pl.Series(fewer[1] == 0),
    )
    return pairs.filter(_is_copy()).drop("one_turn").sort("person", "other")


def _shared(rare: pl.DataFrame) -> pl.DataFrame:
    """How many codes each pair of people shares, inside turns and across turns."""
    across = (pl.col("code") % 2).cast(pl.UInt32)
    return (
        rare.lazy()
        .join(rare.lazy(), on="code", suffix="_other")
        .filter(pl.col("person") < pl.col("person_other"))
        .group_by("person", other="person_other")
        .agg(inside=(1 - across).sum(), across=across.sum())
        .collect()
    )


def _is_copy() -> pl.Expr:
    inside, across = pl.col("inside"), pl.col("across")
    share = pl.col("share_inside")
    in_order = (share >= IN_ORDER) & (pl.col("share_across") >= IN_ORDER) & (across >= ORDER_RUN)
    words = (share >= ALL_WORDS) & (inside >= WORD_RUN)
    one_turn = pl.col("one_turn") & (share >= ONE_TURN) & (inside >= ONE_TURN_RUN)
    run = (across >= LONG_RUN[0]) & (inside >= LONG_RUN[1])
    return in_order | words | one_turn | run


def _groups(pairs: npt.NDArray[np.int64], names: list[str]) -> dict[str, str]:
    if not len(pairs):
        return {}
    # Half of what an import loads, and asked for by none.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(names),) * 2)
    _, label = connected_components(links, directed=False)
    _, first = np.unique(label, return_index=True)
    members = np.unique(pairs)
    return {names[row]: names[first[label[row]]] for row in members}


def cohort_copies(turns: pl.DataFrame, path: Path | None) -> dict[str, str]:
    """`near_copies` of a cohort; of a large one found once, and then read from its directory.

    Args:
        turns: its turns.
        path: its directory, None if it was never written. What lies there of other turns, or was
            found by another version of Leadline, is found anew.
    """
    if path is None or turns.height < CACHE_TURNS:
        return near_copies(turns)
    place = pl.int_range(1, pl.len() + 1, dtype=pl.UInt64)
    code = pl.struct("person_id", "role", "text").hash(0)
    made_from = {
        "turns": str(turns.lazy().select((code * place).sum()).collect().item()),
        "code": code_version(),
    }
    groups = _read_cache(path / CACHE, made_from)
    if groups is not None:
        return groups
    groups = near_copies(turns)
    table = pl.DataFrame(list(groups.items()), schema=COPIES, orient="row")
    # A cohort on a medium that cannot be written is searched again the next time.
    with suppress(OSError), replacing(path / CACHE) as scratch:
        table.write_parquet(scratch, metadata={**made_from, "groups": _digest(groups)})
    return groups


def _digest(groups: Mapping[str, str]) -> str:
    """By which a cache that was changed is known: whoever lacks there would be trained on."""
    return hashlib.sha256(json.dumps(list(groups.items())).encode()).hexdigest()


def _read_cache(file: Path, made_from: Mapping[str, str]) -> dict[str, str] | None:
    try:
        metadata = pl.read_parquet_metadata(file)
        if any(metadata.get(name) != entry for name, entry in made_from.items()):
            return None
        table = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError):
        return None
    if table.schema != COPIES:
        return None
    groups = dict(table.iter_rows())
    return groups if _digest(groups) == metadata.get("groups") else None


def group_counts(groups: Mapping[str, str]) -> dict[str, int]:
    """People in groups, groups, and the size of the largest, for a report."""
    sizes = Counter(groups.values())
    return {
        "people": len(groups),
        "groups": len(sizes),
        "largest": max(sizes.values(), default=0),
    }
