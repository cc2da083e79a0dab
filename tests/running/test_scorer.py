import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.cohorts import cohort_of, some_people, turn_rows
from tests.support.readers import tiny_reader

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.errors import LeadlineError
from leadline.phq9.distribution import Totals
from leadline.phq9.items import ITEM_COLUMNS
from leadline.running.scorer import RunningConfig, RunningScorer, TimedMessage
from leadline.runs.config import TrainConfig
from leadline.runs.train import train_run
from leadline.scoring.score import score_cohort
from leadline.tables import ESTIMATES

KEYS = ["person_id", "conversation_id", "turn", "time", "model_id"]
NUMBERS = ["mean", "median", "lower", "upper", "p_ge_10", "increment", "departure"]
SLOW = pytest.mark.slow
NEW = "a stranger to the run"


def said_by(cohort):
    """Messages of each person, as a caller has them."""
    people = {}
    for row in cohort.turns.iter_rows(named=True):
        said = TimedMessage(
            row["role"], row["text"], row["time"], row["conversation_id"], row["turn"]
        )
        people.setdefault(row["person_id"], []).append(said)
    return people


def remember(scorer, people):
    """Let the scorer ask for what it has read of these people."""

    def history(name):
        course = scorer.store.get(name)
        return people[name][: course.read] if course is not None else ()

    scorer.history = history


def few(simulated, count=12):
    labelled = simulated.phq9["person_id"].unique(maintain_order=True).to_list()
    return some_people(simulated, set(labelled[:count]))


def assert_same(one, other):
    """Equal up to the rounding of readers in float32, on the scale of PHQ-9 points."""
    one, other = one.sort(KEYS[:3]), other.sort(KEYS[:3])
    assert one.schema == other.schema == pl.Schema(ESTIMATES)
    assert one.select(KEYS).equals(other.select(KEYS))
    np.testing.assert_allclose(one.select(NUMBERS), other.select(NUMBERS), atol=1e-4, rtol=0)
    a, b = (np.array(x["distribution"].to_list()) for x in (one, other))
    np.testing.assert_allclose(a, b, atol=1e-5)


def trained_on(cohort, folder, home, reader, **more):
    """A run with readers in float32 on a few people."""
    config = TrainConfig(
        reader=reader, layers=("0.5", "1.0"), folds=2, inner_folds=2, fit="ridge",
        baselines=False, max_tokens=192, **more,
    )  # fmt: skip
    train_run(cohort, folder, config, WindowConfig(mask_questionnaire=True), home=home)
    return folder


@pytest.fixture(scope="module")
def exact():
    """Readers compute in float32, so that rounding hides nothing."""
    from leadline.finetune import module
    from leadline.readers import language

    with pytest.MonkeyPatch.context() as patch:
        for place in (language, module):
            patch.setattr(place, "pick_dtype", lambda *_: torch.float32)
        yield


@pytest.fixture(scope="module", params=["llama", pytest.param("qwen+encoder", marks=SLOW)])
def run(request, exact, simulated, sentence_reader, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    kind = request.param.split("+")[0]
    name = str(tiny_reader(folder, kind, 0.02))
    if "+" in request.param:
        name += f"+{sentence_reader}"
    return trained_on(few(simulated), folder / "run", folder / "home", name)


@pytest.fixture(scope="module")
def expected(run, simulated):
    """Estimates of training people and of the others at once, without a cache of states."""
    out = run.parent / "estimates.parquet"
    score_cohort(few(simulated, 14), run, out, home=run.parent / "another-home")
    return pl.read_parquet(out)


@pytest.fixture(scope="module")
def scorer(run):
    """One scorer for all draws; people are begun anew by saying that there was nothing before."""
    return RunningScorer(run, home=run.parent / "home")


def feed(scorer, people, edges, before=True):
    """All messages of all people in the chunks that `edges` gives, everyone at once."""
    tables = []
    for start, stop in pairwise(edges):
        news = {name: said[start:stop] for name, said in people.items()}
        counts = {name: min(start, len(said)) for name, said in people.items()}
        tables.append(scorer.add_many(news, before=counts if before else None))
    return pl.concat(tables)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(1, 40), max_size=6))
def test_estimates_are_those_of_score_however_messages_arrive(
    simulated, run, expected, scorer, cuts
):
    people = said_by(few(simulated, 14))
    remember(scorer, people)
    longest = max(map(len, people.values()))
    table = feed(scorer, people, sorted({0, *(c for c in cuts if c < longest), longest}))
    assert_same(table, expected)
    assert scorer.read_again == 0


def test_one_person_one_message_at_a_time(simulated, run, expected):
    people = said_by(few(simulated, 14))
    scorer = RunningScorer(run, home=run.parent / "home")
    for name in (min(people), max(people)):
        said = people[name]
        remember(scorer, people)
        table = pl.concat([scorer.add(name, [one]) for one in said])
        assert_same(table, expected.filter(pl.col("person_id") == name))


CONTINUE = """
import sys, json, pickle
from pathlib import Path
import torch
from leadline.finetune import module
from leadline.readers import language
language.pick_dtype = module.pick_dtype = lambda *_: torch.float32
from leadline.running.scorer import RunningScorer
run, folder, rest, out = map(Path, sys.argv[1:])
people, rest = pickle.loads(rest.read_bytes())
with RunningScorer(run, folder=folder, home=run.parent / "home") as scorer:
    scorer.history = lambda name: people[name][: len(people[name]) // 2]
    scorer.add_many(rest).write_parquet(out)
    assert scorer.read_again == 0
"""


def test_a_new_process_goes_on_exactly(simulated, run, tmp_path):
    import pickle

    people = said_by(few(simulated, 5))
    half = {name: said[: len(said) // 2] for name, said in people.items()}
    rest = {name: said[len(said) // 2 :] for name, said in people.items()}
    home = run.parent / "home"
    with RunningScorer(run, folder=tmp_path / "states", home=home) as scorer:
        remember(scorer, people)
        first = scorer.add_many(half)
        scorer.store.flush()
        files = list((tmp_path / "states").glob("*.safetensors"))
        assert len(files) == 5
        assert all(path.stat().st_mode & 0o77 == 0 for path in [*files, tmp_path / "states"])
    (tmp_path / "rest").write_bytes(pickle.dumps((people, rest)))
    command = [sys.executable, "-c", CONTINUE, run, tmp_path / "states", tmp_path / "rest",
               tmp_path / "out.parquet"]  # fmt: skip
    subprocess.run([str(part) for part in command], check=True)
    never_saved = RunningScorer(run, home=home)
    remember(never_saved, people)
    assert never_saved.add_many(half).equals(first)
    assert pl.read_parquet(tmp_path / "out.parquet").equals(never_saved.add_many(rest))


@pytest.fixture
def light(trained, home):
    """Scorers of a run on a sentence encoder."""
    return lambda **more: RunningScorer(trained, home=home, **more)


@pytest.fixture(scope="module")
def known(trained, simulated, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("known") / "estimates.parquet"
    score_cohort(simulated, trained, out, home=home)
    return pl.read_parquet(out)


def test_a_sentence_encoder_gives_the_same_too(light, known, simulated):
    people = said_by(simulated)
    assert_same(feed(light(), people, [0, 3, 4, 11, 1000], before=False), known)


def test_whoever_left_memory_is_read_again_from_the_history(light, known, simulated):
    people = said_by(few(simulated, 6))
    counts = dict.fromkeys(people, 0)
    scorer = light(
        config=RunningConfig(memory_gb=0), history=lambda name: people[name][: counts[name]]
    )
    tables = []
    for at in (0, 4, 8):
        for name, said in people.items():
            tables.append(scorer.add(name, said[at : at + 4]))
            counts[name] = min(at + 4, len(said))
    assert scorer.read_again > 6
    got = pl.concat(tables)
    both = known.join(got, on=KEYS[:3], how="semi", maintain_order="left")
    assert_same(got, both)
    forgetful = light(config=RunningConfig(memory_gb=0))
    one, other = list(people)[:2]
    forgetful.add(one, people[one][:3])
    forgetful.add(other, people[other][:3])
    with pytest.raises(LeadlineError, match="must be read again"):
        forgetful.add(one, people[one][3:])


def test_the_disk_has_a_budget_too_and_the_lost_stay_known(light, simulated, tmp_path):
    people = said_by(few(simulated, 4))
    first, *_, last = people
    config = RunningConfig(memory_gb=0, disk_gb=3e-6)
    with light(config=config, folder=tmp_path / "s") as scorer:
        for name, said in people.items():
            scorer.add(name, said[:3])
        scorer.store.flush()
        files = list((tmp_path / "s").glob("*.safetensors"))
        assert len(files) == 4
        kept = [path for path in files if path.stat().st_size]
        assert 0 < len(kept) < 4
        assert scorer.store.disk_used == sum(path.stat().st_size for path in kept) <= 3000
        with pytest.raises(LeadlineError, match="Another process"):
            light(folder=tmp_path / "s")
    with light(folder=tmp_path / "s") as scorer:
        with pytest.raises(LeadlineError, match="must be read again"):
            scorer.add(first, people[first][3:])
        assert scorer.add(last, people[last][3:]).height


def damage(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(bytes(content))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


def replace_by_text(path):
    path.write_text("no state")


@pytest.mark.parametrize("spoil", [damage, cut_off, replace_by_text])
def test_a_damaged_file_is_not_trusted(light, known, simulated, tmp_path, spoil):
    people = said_by(few(simulated, 1))
    ((name, said),) = people.items()
    with light(folder=tmp_path / "s") as scorer:
        scorer.add(name, said[:7])
    (file,) = (tmp_path / "s").glob("*.safetensors")
    spoil(file)
    with light(folder=tmp_path / "s", history=lambda _: said[:7]) as scorer:
        with pytest.warns(UserWarning, match="is damaged"):
            table = scorer.add(name, said[7:])
        assert scorer.read_again == 1
    later = known.filter(pl.col("person_id") == name).tail(table.height)
    assert_same(table, later)


def test_someone_who_said_nothing_yet_can_be_kept(light, known, simulated, tmp_path):
    ((name, said),) = said_by(few(simulated, 1)).items()
    first = next(at for at, one in enumerate(said) if one.role == "user")
    assert first > 0
    with light(folder=tmp_path / "s") as scorer:
        assert scorer.add(name, said[:first]).height == 0
    with light(folder=tmp_path / "s") as scorer:
        table = scorer.add(name, said[first:])
    assert_same(table, known.filter(pl.col("person_id") == name))


def test_the_states_of_another_model_are_not_used(light, known, simulated, tmp_path):
    ((name, said),) = said_by(few(simulated, 1)).items()
    with light(folder=tmp_path / "s") as scorer:
        scorer.store.identity = "another model"
        scorer.add(name, said[:7])
    with light(folder=tmp_path / "s", history=lambda _: said[:7]) as scorer:
        table = scorer.add(name, said[7:])
        assert scorer.read_again == 1
    assert_same(table, known.filter(pl.col("person_id") == name).tail(table.height))


def test_a_count_of_messages_guards_against_repeats(light, known, simulated):
    ((name, said),) = said_by(few(simulated, 1)).items()
    scorer = light(history=lambda _: said[:5])
    scorer.add(name, said[:5], before=0)
    first = scorer.add(name, said[5:9], before=5)
    again = scorer.add(name, said[5:9], before=5)
    assert scorer.read_again == 1
    assert_same(first, again)
    with pytest.raises(LeadlineError, match="had 9 messages before; the history gives 5"):
        light(history=lambda _: said[:5]).add(name, said[9:], before=9)


DAYS = st.lists(st.none() | st.floats(0, 60), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(DAYS, st.booleans(), st.lists(st.sampled_from(["user", "user", "assistant"]),
       min_size=12, max_size=12))  # fmt: skip
def test_undated_and_disordered_messages_give_what_score_gives(
    trained, home, tmp_path_factory, days, in_order, roles
):
    dated = iter(sorted(day for day in days if day is not None))
    days = [next(dated) if day is not None else None for day in days] if in_order else days
    said_as = iter(roles)
    cohort = cohort_of(turn_rows(NEW, [(next(said_as), day) for day in days]), [])
    out = tmp_path_factory.mktemp("days") / "estimates.parquet"
    score_cohort(cohort, trained, out, home=home)
    said = said_by(cohort)[NEW]
    read = []
    scorer = RunningScorer(trained, home=home, history=lambda _: tuple(read))
    tables = []
    for one in said:
        tables.append(scorer.add(NEW, [one]))
        read.append(one)
    assert_same(pl.concat(tables), pl.read_parquet(out))
    if in_order and None not in days:
        assert scorer.read_again == 0


def test_turns_beyond_the_window_are_dropped(light):
    said = [TimedMessage("user", f"so tired {i}", day(8 * i), "c", i) for i in range(9)]
    scorer = light()
    for one in said:
        scorer.add(NEW, [one])
    course = scorer.store.get(NEW)
    assert (course.turns, len(course.times), course.read) == (9, 2, 9)


def day(number):
    from tests.support.cohorts import day as moment

    return moment(number)


def test_a_failed_call_changes_nothing(light, simulated):
    ((name, said),) = said_by(few(simulated, 1)).items()
    scorer = light()
    scorer.add(name, said[:5])
    was = scorer.store.get(name)
    naive = replace(said[6], role="user", time=said[6].time.replace(tzinfo=None))
    with pytest.raises(LeadlineError, match="without a zone"):
        scorer.add(name, [naive])
    assert scorer.store.get(name) is was
    with pytest.MonkeyPatch.context() as patch:  # a reader that overflows
        patch.setattr(Totals, "mean", lambda totals: np.full(len(totals), np.nan))
        with pytest.raises(LeadlineError, match="not finite"):
            scorer.add(name, [replace(said[6], role="user")])
    assert scorer.store.get(name) is was
    assert scorer.add(name, []).height == 0
    late = replace(said[6], time=said[6].time + timedelta(days=1))
    assert scorer.add(name, [replace(late, role="assistant")]).height == 0


@SLOW
def test_adapted_readers_go_on_as_well(exact, simulated, tmp_path):
    run = trained_on(
        few(simulated), tmp_path / "run", tmp_path / "home",
        str(tiny_reader(tmp_path, "qwen", 0.02)), adapt="lora", epochs=0.5, rank=2,
    )  # fmt: skip
    cohort = few(simulated, 14)
    score_cohort(cohort, run, tmp_path / "estimates.parquet", home=tmp_path / "home")
    people = said_by(cohort)
    scorer = RunningScorer(run, home=tmp_path / "home")
    remember(scorer, people)
    table = feed(scorer, people, [0, 2, 7, 8, 1000], before=False)
    assert_same(table, pl.read_parquet(tmp_path / "estimates.parquet"))
    trained_on_them = set(scorer.ensemble.left_out)
    for timeline in timelines(cohort):
        course = scorer.store.get(timeline.person_id)
        read = sum(context.memory is not None for context in course.contexts)
        assert read == (1 if timeline.person_id in trained_on_them else 2)


def test_a_person_who_is_forgotten_is_read_as_if_new(light, simulated, tmp_path):
    people = said_by(few(simulated, 3))
    first, *others = people
    with light(folder=tmp_path / "s") as scorer:
        before = {name: scorer.add(name, said, before=0) for name, said in people.items()}
        scorer.store.flush()
        scorer.forget_person(first)
        assert len(list((tmp_path / "s").glob("*.safetensors"))) == 2
        assert scorer.add(first, people[first], before=0).equals(before[first])
        scorer.store.flush()
        assert scorer.store.keep_only(others) == 2  # the file, and what was in memory
        assert len(list((tmp_path / "s").glob("*.safetensors"))) == 2


def test_each_estimate_says_what_it_rests_on(light, simulated):
    people = said_by(few(simulated, 3))
    table = light().add_with_windows(people)
    for (name,), rows in table.group_by("person_id", maintain_order=True):
        user = [message for message in people[name] if message.role == "user"]
        for at, row in enumerate(rows.iter_rows(named=True)):
            since = user[at].time - timedelta(days=14)
            window = [message for message in user[: at + 1] if message.time > since]
            assert row["window_turns"] == len(window)
            assert row["window_words"] == sum(len(m.text.split()) for m in window)


def test_the_profile_is_that_of_score_and_sums_to_the_total(
    light, trained, simulated, home, tmp_path
):
    cohort = few(simulated, 4)
    score_cohort(cohort, trained, tmp_path / "all", items=True, home=home)
    at_once = pl.read_parquet(tmp_path / "all").sort(KEYS[:3])
    running = light(items=True).add_many(said_by(cohort)).sort(KEYS[:3])
    assert running.schema == at_once.schema
    for name in ITEM_COLUMNS:
        np.testing.assert_allclose(running[name], at_once[name], atol=1e-4, rtol=0)
    expected = running.select(pl.sum_horizontal(ITEM_COLUMNS)).to_series()
    assert (expected - running["mean"]).abs().max() < 1e-9
    assert light(items=True).add("a", []).schema == at_once.schema
