"""Raw turns to turns.parquet: checks by column, order by keys, text by bucket."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from leadline.errors import LeadlineError
from leadline.importing import spool as spool_module
from leadline.importing.spool import Spool, clean, order, write_turns
from leadline.sources.batch import RawTurnBatch
from leadline.sources.config import ROLES, ImportConfig
from leadline.sources.rejects import RejectedRows
from leadline.sources.roles import roles_of
from leadline.tables import TURNS

FILE = Path("a.csv")


def raw(**columns: Any) -> RawTurnBatch:
    given = {"person": ["p", "p", "q"], "speaker": ["user", "bot", "user"], "text": list("abc")}
    given |= columns
    return RawTurnBatch(FILE, pl.DataFrame({"row": [2, 3, 4], **given}))


def cleaned(
    batch: RawTurnBatch, ledger: RejectedRows | None = None, **settings: Any
) -> pl.DataFrame:
    config = ImportConfig(**settings)
    return clean(batch, roles_of(config), config, ledger or RejectedRows())


def spool_of(tmp_path: Path, *batches: pl.DataFrame) -> Spool:
    spool = Spool(tmp_path / "spool")
    for batch in batches:
        spool.add(FILE, batch)
    return spool


def test_clean_gives_codes_and_defaults() -> None:
    rows = cleaned(raw())
    assert [ROLES[code] for code in rows["role"]] == ["user", "assistant", "user"]
    assert rows["conversation"].to_list() == ["1", "1", "1"]
    assert rows["turn"].null_count() == rows["time"].null_count() == 3


@pytest.mark.parametrize(
    ("columns", "left", "reason"),
    [
        ({"person": ["p", None, "q"]}, [2, 4], "person"),
        ({"text": ["a", "b", " \n\u00a0"]}, [2, 3], "empty"),
        ({"text": ["a" * 11, "b" * 10, "\u00e9" * 10]}, [3, 4], "longer"),
        ({"speaker": ["user", "user", ""]}, [2, 3], "role"),
        ({"conversation": ["c", "", "c"]}, [2, 4], "conversation"),
        ({"time": ["2024-05-01T00:00:00Z", None, "x"]}, [2, 3], "ISO"),
        ({"time": ["2999-05-01T00:00:00Z", None, None]}, [3, 4], "future"),
    ],
)
def test_bad_rows_are_left_out_one_by_one(
    columns: dict[str, Any], left: list[int], reason: str
) -> None:
    ledger = RejectedRows(skip_bad=True)
    rows = cleaned(raw(**columns), ledger, max_turn_chars=10)
    assert rows["row"].to_list() == left
    assert [bad["row"] for bad in ledger.bad] == sorted({2, 3, 4} - set(left))
    assert reason in ledger.bad[0]["reason"]


def test_a_row_is_bad_for_one_reason_only() -> None:
    ledger = RejectedRows(skip_bad=True)
    cleaned(raw(person=[None, "p", "q"], text=[None, "b", "c"]), ledger)
    assert sum(ledger.reasons.values()) == 1


def test_a_turn_dated_by_day_is_taken_as_said_at_its_end() -> None:
    ledger = RejectedRows()
    dates = ["2024-05-01", "2024-05-01T00:00:00+02:00", None]
    times = cleaned(raw(time=dates), ledger, timezone="Europe/Berlin")["time"].to_list()
    assert times == [
        datetime(2024, 5, 1, 21, 59, 59, 999999, tzinfo=UTC),
        datetime(2024, 4, 30, 22, tzinfo=UTC),
        None,
    ]
    assert dict(ledger.notes) == {"turn dates without a time, taken as the end of the day": 1}


def test_a_turn_of_today_is_not_in_the_future() -> None:
    zone = "Pacific/Kiritimati"  # the first zone to reach a day
    today = datetime.now(ZoneInfo(zone)).date()
    assert cleaned(raw(time=[today] * 3), timezone=zone).height == 3


@pytest.mark.parametrize("turns", [[1.0, 1.5, 2.0], [1, None, 2], ["1", "x", "2"], [True] * 3])
def test_positions_are_whole_numbers(turns: list[Any]) -> None:
    with pytest.raises(LeadlineError, match="whole number"):
        cleaned(raw(turn=turns))


def test_repeated_positions_across_batches_name_the_later_row(tmp_path: Path) -> None:
    first = cleaned(raw(turn=[1, 2, 1]))
    second = first.with_columns(row=pl.col("row") + 100)
    spool = spool_of(tmp_path, first, second)
    with pytest.raises(LeadlineError, match="twice") as caught:
        order(spool, RejectedRows())
    assert caught.value.row == 102
    ledger = RejectedRows(skip_bad=True)
    ordered = order(spool, ledger)
    assert (ordered.height, ordered.place.tolist()) == (3, [0, 1, 2, -1, -1, -1])
    assert [bad["row"] for bad in ledger.bad] == [102, 103, 104]


@pytest.mark.parametrize("bucket", [1, 2, 100])
def test_writing_in_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: int) -> None:
    monkeypatch.setattr(spool_module, "BUCKET", bucket)
    late, early = datetime(2024, 5, 2, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
    first = cleaned(raw(conversation=["late", "late", "only"], time=[late, late, early]))
    second = cleaned(raw(conversation=["early", "early", "only"], time=[early, early, late]))
    spool = spool_of(tmp_path, first, second)
    write_turns(spool, order(spool, RejectedRows()), tmp_path / "turns.parquet")
    turns = pl.read_parquet(tmp_path / "turns.parquet")
    assert turns.schema == TURNS
    assert turns.select("person_id", "conversation_id", "turn", "text").rows() == [
        ("p", "early", 0, "a"), ("p", "early", 1, "b"), ("p", "late", 0, "a"),
        ("p", "late", 1, "b"), ("q", "only", 0, "c"), ("q", "only", 1, "c"),
    ]  # fmt: skip
    assert list((tmp_path / "spool").iterdir()) == []


def test_conversations_of_one_name_belong_to_their_person(tmp_path: Path) -> None:
    spool = spool_of(tmp_path, cleaned(raw(conversation=["c", "c", "c"])))
    write_turns(spool, order(spool, RejectedRows()), tmp_path / "t.parquet")
    turns = pl.read_parquet(tmp_path / "t.parquet")
    assert turns.select("person_id", "turn").rows() == [("p", 0), ("p", 1), ("q", 0)]


def test_an_empty_batch_is_no_file(tmp_path: Path) -> None:
    spool = spool_of(tmp_path, cleaned(raw()).head(0))
    assert (spool.height, spool.files) == (0, [])
