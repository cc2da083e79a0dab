"""Estimates as messages arrive: those of `leadline score`, whatever came when, whoever died."""

import threading

import numpy as np
import pytest
from sqlalchemy import select
from tests.support.monitored import (
    NUMBERS,
    assert_as_scored,
    estimates,
    load,
    scored,
    scorer_of,
    work_off,
)
from tests.support.stores import add_person, person_row, said, send

from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError, Unreachable
from leadline.monitor.load import _messages
from leadline.monitor.scorer import estimate_row
from leadline.store import times
from leadline.store.estimates import read_estimates
from leadline.store.messages import retract_messages, store_messages
from leadline.store.models import live_model, promote, register_model
from leadline.store.people import external_id
from leadline.store.schema import estimate, person, person_now
from leadline.store.work import claim_people


@pytest.fixture(scope="module")
def expected(monitor_run, spread_cohort, tmp_path_factory):
    return scored(spread_cohort, monitor_run, tmp_path_factory.mktemp("expected"))


def test_all_at_once_are_the_estimates_of_leadline_score(
    live, monitor_run, spread_cohort, expected, tmp_path
):
    load(live, spread_cohort)
    scorer = scorer_of(live, monitor_run, tmp_path)
    work_off(scorer)
    scorer.close()
    assert_as_scored(live, expected)
    people = live.database.read(lambda c: list(c.execute(select(person)).mappings()))
    assert all(row["scored_upto"] == row["received"] for row in people)
    assert all(row["refresh_due"] is None for row in people)
    views = live.database.read(lambda c: list(c.execute(select(person_now)).mappings()))
    assert len(views) == len(people)
    assert all(0 <= row["lower"] <= row["mean"] <= row["upper"] <= 27 for row in views)


def send_in_parts(store, cohort, seed, scorers):
    """Messages of everybody in random small batches, some late, some twice, scored in between."""
    rng = np.random.default_rng(seed)
    items = list(_messages(cohort))
    late = [item for item in items if rng.random() < 0.15]
    on_time = [item for item in items if item not in late]
    queue = [*on_time, *late]
    names = list(dict.fromkeys(item.person for item in items))
    from leadline.store.people import PersonChange, put_person

    for name in names:
        change = PersonChange(name, consent={"estimate": True})
        store.database.write(lambda c, change=change: put_person(c, store.vault, change, 1))
    at = 0
    while at < len(queue):
        size = int(rng.integers(1, 12))
        batch = queue[max(0, at - int(rng.integers(0, 3))) : at + size]
        store.database.write(lambda c, b=batch: store_messages(c, store.vault, b, times.now()))
        at += size
        if rng.random() < 0.5:
            scorers[int(rng.integers(len(scorers)))].step()
    work_off(scorers[0])


def test_late_doubled_and_spread_over_two_scorers_they_are_the_same(
    live, monitor_run, spread_cohort, expected, tmp_path
):
    scorers = [scorer_of(live, monitor_run, tmp_path / name) for name in ("a", "b")]
    send_in_parts(live, read_cohort(spread_cohort), 3, scorers)
    assert_as_scored(live, expected)
    assert sum(scorer.running.read_again for scorer in scorers) > 0
    for scorer in scorers:
        scorer.close()


def test_a_new_process_goes_on_where_the_last_one_was(
    sqlite_live, monitor_run, spread_cohort, expected, tmp_path
):
    cohort = read_cohort(spread_cohort)
    items = list(_messages(cohort))
    half = len(items) // 2
    from leadline.store.people import PersonChange, put_person

    for name in dict.fromkeys(item.person for item in items):
        change = PersonChange(name, consent={"estimate": True})
        sqlite_live.database.write(
            lambda c, change=change: put_person(c, sqlite_live.vault, change, 1)
        )
    for part in (items[:half], items[half:]):
        sqlite_live.database.write(
            lambda c, part=part: store_messages(c, sqlite_live.vault, part, times.now())
        )
        scorer = scorer_of(sqlite_live, monitor_run, tmp_path)
        work_off(scorer)
        scorer.close()
    assert scorer.running.read_again == 0
    assert_as_scored(sqlite_live, expected)


def test_what_a_process_held_when_it_died_is_read_as_soon_as_it_is_back(
    sqlite_live, monitor_run, tmp_path
):
    add_person(sqlite_live)
    send(sqlite_live, said("a"))
    scorer = scorer_of(sqlite_live, monitor_run, tmp_path)
    sqlite_live.database.write(
        lambda c: claim_people(c, sqlite_live.vault, scorer.owner, times.now())
    )
    assert not scorer.step()
    scorer.close()
    back = scorer_of(sqlite_live, monitor_run, tmp_path)
    assert back.step() == 1
    back.close()
    assert len(estimates(sqlite_live, "ada")) == 1


def test_a_write_that_fails_is_done_again_from_the_store(
    sqlite_live, monitor_run, spread_cohort, expected, tmp_path, monkeypatch
):
    load(sqlite_live, spread_cohort)
    scorer = scorer_of(sqlite_live, monitor_run, tmp_path)
    fail = iter([True, True])

    def finish(*words):
        if next(fail, False):
            raise Unreachable("The database is away.", remedy="Wait.")
        return original(*words)

    from leadline.monitor import scorer as module

    original = module.finish
    monkeypatch.setattr(module, "finish", finish)
    for _ in range(2):
        with pytest.raises(Unreachable):
            scorer.step()
        assert sqlite_live.database.read(lambda c: c.execute(select(estimate)).all()) == []
        assert not scorer.step()  # the lease has not ended
        sqlite_live.database.write(lambda c: c.execute(person.update().values(lease_until=0)))
    work_off(scorer)
    scorer.close()
    assert_as_scored(sqlite_live, expected)


def test_whoever_cannot_be_read_does_not_keep_the_others_from_it(
    sqlite_live, monitor_run, spread_cohort, expected, tmp_path
):
    load(sqlite_live, spread_cohort)
    names = expected["person_id"].unique(maintain_order=True).to_list()
    scorer = scorer_of(sqlite_live, monitor_run, tmp_path)
    read = scorer.texts.read

    class Broken:
        def read(self, stored, rows):
            if external_id(stored) == names[0]:
                raise KeyError("some words of theirs")
            return read(stored, rows)

    scorer.texts = Broken()
    work_off(scorer)
    assert_as_scored(sqlite_live, expected, names[1:])
    row = person_row(sqlite_live, names[0])
    assert row["failed"] == "KeyError"
    view = sqlite_live.database.read(
        lambda c: c.execute(
            select(person_now).where(person_now.c.person_id == row["id"])
        ).mappings().one()
    )  # fmt: skip
    assert view["standing"] == "cannot be estimated"
    scorer.close()


def test_a_correction_and_a_retraction_give_the_estimates_of_what_is_left(
    sqlite_live, monitor_run, tmp_path
):
    words = ["I slept well.", "I cry a lot.", "Nothing helps.", "Work is fine."]
    add_person(sqlite_live)
    add_person(sqlite_live, "bob")
    send(sqlite_live, *(said(f"a{n}", text, hours=n) for n, text in enumerate(words)))
    scorer = scorer_of(sqlite_live, monitor_run, tmp_path)
    work_off(scorer)
    first = estimates(sqlite_live, "ada")
    send(sqlite_live, said("a1b", "I laugh a lot.", hours=1, replaces="a1"))
    sqlite_live.database.write(
        lambda c: retract_messages(c, sqlite_live.vault, [("ada", "app", "a2")], times.now())
    )
    work_off(scorer)
    left = ["I slept well.", "I laugh a lot.", "Work is fine."]
    places = enumerate(zip(left, (0, 1, 3), strict=True))
    again = [said(f"b{n}", text, person="bob", hours=hour) for n, (text, hour) in places]
    send(sqlite_live, *again)
    work_off(scorer)
    scorer.close()
    one, other = estimates(sqlite_live, "ada"), estimates(sqlite_live, "bob")
    assert [row["seq"] for row in one] == [1, 5, 4]
    for column in NUMBERS[:5]:
        np.testing.assert_allclose(
            [row[column] for row in one], [row[column] for row in other], atol=1e-5
        )
    ada = person_row(sqlite_live)["id"]
    model = sqlite_live.database.read(live_model)["model_id"]
    asof = first[-1]["made_at"]
    shown = sqlite_live.database.read(lambda c: read_estimates(c, ada, model, asof))
    assert [row["mean"] for row in shown] == [row["mean"] for row in first]


def test_the_leases_are_kept_while_people_are_read(sqlite_live, monitor_run, tmp_path, monkeypatch):
    from leadline.monitor import scorer as module

    monkeypatch.setattr(module, "LEASE", times.SECOND // 4)
    add_person(sqlite_live)
    send(sqlite_live, said("a"))
    scorer = scorer_of(sqlite_live, monitor_run, tmp_path)
    before = []
    slow = threading.Event()

    class Slow:
        def read(self, stored, rows):
            first = person_row(sqlite_live)["lease_until"]
            slow.wait(0.3)
            before.append((first, person_row(sqlite_live)["lease_until"]))
            return ["Hello."] * len(rows)

    scorer.texts = Slow()
    scorer.step()
    scorer.close()
    assert before[0][1] > before[0][0]


def test_states_of_the_forgotten_are_removed(sqlite_live, monitor_run, tmp_path):
    from leadline.store.people import forget_person

    for name in ("ada", "bob"):
        add_person(sqlite_live, name)
        send(sqlite_live, said(f"m {name}", person=name))
    scorer = scorer_of(sqlite_live, monitor_run, tmp_path)
    work_off(scorer)
    scorer.close()
    files = lambda: list((tmp_path / "states").glob("*.safetensors"))  # noqa: E731
    assert len(files()) == 2
    sqlite_live.database.write(lambda c: forget_person(c, sqlite_live.vault, "ada", times.now()))
    scorer_of(sqlite_live, monitor_run, tmp_path).close()
    assert len(files()) == 1


@pytest.mark.parametrize("left", [b"", b"0123", b"\xff\xfe"])
def test_a_name_of_a_scorer_that_a_kill_left_half_is_made_anew(
    sqlite_live, monitor_run, tmp_path, left
):
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder / "states").mkdir(parents=True)
        (tmp_path / folder / "states" / "owner").write_bytes(left)
        for _ in range(2):
            scorer = scorer_of(sqlite_live, monitor_run, tmp_path / folder)
            names.add(scorer.owner)
            scorer.close()
    assert len(names) == 2


def test_a_run_that_is_not_the_live_model_is_refused(sqlite_live, monitor_run, tmp_path):
    def change(connection):
        register_model(connection, "other", "elsewhere", times.now(), status="shadow")
        promote(connection, "other", times.now())

    sqlite_live.database.write(change)
    with pytest.raises(LeadlineError, match="not the live model"):
        scorer_of(sqlite_live, monitor_run, tmp_path)


def test_an_estimate_keeps_its_numbers(expected):
    made = {**expected.row(0, named=True), "window_turns": 3, "window_words": 40}
    row = estimate_row(7, made)
    assert row.figures["mean"] == made["mean"]
    totals = np.arange(28)
    mean = (row.distribution * totals).sum()
    assert row.figures["variance"] == pytest.approx((row.distribution * (totals - mean) ** 2).sum())
    assert (row.seq, row.window_words) == (7, 40)
