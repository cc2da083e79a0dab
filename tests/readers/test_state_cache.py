import signal
import sqlite3
import stat
import subprocess
import sys
import warnings
from contextlib import closing

import numpy as np
import pytest
from tests.support import ROOT
from tests.support.readers import talk

from leadline.cohort.timeline import Message
from leadline.errors import LeadlineError
from leadline.readers.state_cache import StateCache, cached_states


class Counting:
    """A reader that counts what it reads; a state is the lengths so far."""

    width = 3

    def __init__(self, contextual=True, identity="a" * 64):
        self.contextual, self.identity, self.read = contextual, identity, []
        self.chunks = []

    def states(self, conversations, progress=None):
        self.read += [list(talk) for talk in conversations]
        self.chunks.append(len(conversations))
        if progress is not None:
            words = sum(len(message.text.split()) for talk in conversations for message in talk)
            progress(0, words)
            progress(words, words)
        out = []
        for messages in conversations:
            total, rows = 0, [np.zeros((0, 3), np.float32)]
            for message in messages:
                total = total + len(message.text) if self.contextual else len(message.text)
                if message.role == "user":
                    rows.append(np.full((1, 3), total, np.float32))
            out.append(np.concatenate(rows))
        return out


ONE, TWO = talk("I am tired", "why", "no sleep"), talk("fine", "good")


def test_a_second_reading_reads_nothing(tmp_path):
    reader = Counting()
    first = cached_states(reader, [ONE, TWO, []], StateCache(reader, home=tmp_path))
    reader.read.clear()
    second = cached_states(reader, [ONE, TWO, []], StateCache(reader, home=tmp_path))
    assert reader.read == []
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert [s.shape for s in second] == [(2, 3), (1, 3), (0, 3)]
    assert (second[0][:, 0] == [10, 21]).all()


@pytest.mark.parametrize(
    ("edited", "kept"),
    [
        ([Message("user", "I am fine!"), *ONE[1:]], 0),
        ([*ONE[:1], Message("assistant", "who"), *ONE[2:]], 1),
        ([*ONE[:2], Message("user", "much sleep")], 1),
        ([*ONE, Message("user", "really")], 2),
        ([Message("assistant", ONE[0].text), *ONE[1:]], 0),
    ],
)
def test_an_edited_turn_invalidates_just_what_follows(tmp_path, edited, kept):
    cache = StateCache(Counting(), home=tmp_path)
    before, after = cache.keys(ONE), cache.keys(edited)
    assert before[:kept] == after[:kept]
    assert not set(before[kept:]) & set(after)


def test_where_one_message_ends_matters(tmp_path):
    cache = StateCache(Counting(), home=tmp_path)
    assert cache.keys(talk("ab", "c", "d"))[1] != cache.keys(talk("a", "bc", "d"))[1]


def test_a_sentence_reader_reads_only_the_missing_turns(tmp_path):
    reader = Counting(contextual=False)
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    reader.read.clear()
    states = cached_states(reader, [talk("no sleep", "x", "new words", "x", "I am tired")], cache)
    assert reader.read == [[Message("user", "new words")]]
    assert (states[0][:, 0] == [8, 9, 10]).all()


def test_equal_texts_of_two_people_are_two_records(tmp_path):
    reader = Counting()
    states = cached_states(reader, [ONE, ONE], StateCache(reader, home=tmp_path))
    assert len(states) == 2
    assert states[0] is not states[1]


def test_readers_do_not_share_states(tmp_path):
    one, two = Counting(), Counting(identity="b" * 64)
    cached_states(one, [ONE], StateCache(one, home=tmp_path))
    cached_states(two, [ONE], StateCache(two, home=tmp_path))
    assert two.read == [ONE]


def test_no_text_is_stored_and_others_cannot_read(tmp_path):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    for file in cache.path.parent.iterdir():
        assert b"tired" not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = StateCache(reader, home=tmp_path / "other")
    assert not set(cache.keys(ONE)) & set(other.keys(ONE))


@pytest.mark.parametrize("damage", [b"not a database at all" * 50, b""])
def test_a_damaged_file_is_built_anew(tmp_path, damage):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    cache.path.write_bytes(damage)
    for suffix in ("-wal", "-shm"):
        cache.path.with_name(cache.path.name + suffix).unlink(missing_ok=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        states = cached_states(reader, [ONE], StateCache(reader, home=tmp_path))
    assert (states[0][:, 0] == [10, 21]).all()
    assert bool(caught) == bool(damage)


def test_damage_while_open_is_survived(tmp_path):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    cache.path.write_bytes(b"x" * 9000)
    with pytest.warns(UserWarning, match="damaged"):
        states = cached_states(reader, [ONE], cache)
    assert (states[0][:, 0] == [10, 21]).all()
    reader.read.clear()
    cached_states(reader, [ONE], cache)
    assert reader.read == []


def test_a_lock_or_a_full_disk_is_an_error_and_no_damage(tmp_path):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    with pytest.raises(LeadlineError, match="disk is full"):
        cache._set_aside(sqlite3.OperationalError("database or disk is full"))
    with pytest.raises(LeadlineError) as caught:
        cache._set_aside(sqlite3.OperationalError("no such column: hopeless"))
    assert "hopeless" not in str(caught.value)
    reader.read.clear()
    cached_states(reader, [ONE], cache)
    assert reader.read == []


def test_progress_counts_tokens_over_all_conversations(tmp_path, monkeypatch):
    """What is to come is taken from the characters until it is known; the end is exact."""
    monkeypatch.setattr("leadline.readers.state_cache.CHUNK", 1)
    reader, seen = Counting(), []
    cache = StateCache(reader, home=tmp_path)
    told = lambda done, total: seen.append((done, total))  # noqa: E731
    talks = [TWO, ONE, TWO, talk("fine", "bad")]
    cached_states(reader, talks, cache, told)
    positions, totals = zip(*seen, strict=True)
    assert positions == (
        0,
        0,
        6,
        6,
        8,
        8,
        10,
        10,
        12,
        12,
    )  # words, longest first, each as it begins
    assert totals[-1] == 12
    assert all(10 <= total <= 17 for total in totals[1:])
    assert totals[0] == sum(len(m.text) + 16 for t in talks for m in t) // 4
    seen.clear()
    cached_states(reader, [TWO], cache, told)
    assert seen == [(0, 0)]


def test_each_missing_turn_is_read_once_by_a_sentence_reader():
    reader = Counting(contextual=False)
    states = cached_states(reader, [talk("x", "why", "y"), talk("y")])
    assert sorted(m.text for talks in reader.read for m in talks) == ["x", "y"]
    assert [s.shape for s in states] == [(2, 3), (1, 3)]


def test_without_a_cache_chunks_are_those_of_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setattr("leadline.readers.state_cache.CHUNK", 60)
    cached, bare = Counting(), Counting()
    talks = [talk("a" * n) for n in (3, 50, 7, 20)]
    with_cache = cached_states(cached, talks, StateCache(cached, home=tmp_path))
    without = cached_states(bare, talks)
    assert cached.chunks == bare.chunks == [1, 2, 1]
    assert all((a == b).all() for a, b in zip(with_cache, without, strict=True))


def test_a_value_of_the_wrong_size_is_read_again(tmp_path):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE states SET value = x'00'")
    reader.read.clear()
    with pytest.warns(UserWarning, match="not as they were written"):
        assert (cached_states(reader, [ONE], cache)[0][:, 0] == [10, 21]).all()
    assert reader.read == [ONE]


def change(cache, statement, *values):
    with closing(sqlite3.connect(cache.path)) as connection, connection:
        connection.execute(statement, values)


CHANGES = {
    "another number": "UPDATE states SET value = x'0000803f0000803f0000803f'",
    "another's state": "UPDATE states SET value = (SELECT value FROM states ORDER BY value DESC)",
    "another's seal": "UPDATE seals SET value = (SELECT max(value) FROM seals)",
    "no bytes": "UPDATE states SET value = 7",
    "a word": "UPDATE states SET value = 'canary'",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_state_that_was_changed_is_read_anew_and_it_is_said(tmp_path, what):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    change(cache, CHANGES[what])
    cache = StateCache(reader, home=tmp_path)
    with pytest.warns(UserWarning, match="not as they were written") as caught:
        states = cached_states(reader, [ONE], cache)
    assert (states[0][:, 0] == [10, 21]).all()
    assert "canary" not in str(caught[0].message)
    reader.read.clear()
    cached_states(reader, [ONE], StateCache(reader, home=tmp_path))
    assert reader.read == []


def test_states_of_before_there_were_seals_are_kept_and_sealed_once(tmp_path):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    change(cache, "DROP TABLE seals")
    change(cache, "DELETE FROM about WHERE name = 'sealed'")
    reader.read.clear()
    cached_states(reader, [ONE], StateCache(reader, home=tmp_path))
    assert reader.read == []
    change(cache, "DELETE FROM seals")  # and an earlier version that adds to it adds none
    cached_states(reader, [ONE], StateCache(reader, home=tmp_path))
    assert reader.read == [ONE]


@pytest.mark.parametrize("secret", [b"", b"x" * 65, "canary", 7, None])
def test_a_forged_secret_is_damage(tmp_path, secret):
    reader = Counting()
    cache = StateCache(reader, home=tmp_path)
    cached_states(reader, [ONE], cache)
    change(cache, "UPDATE about SET value = ? WHERE name = 'secret'", secret)
    with pytest.warns(UserWarning, match="damaged"):
        cache = StateCache(reader, home=tmp_path)
    assert (cached_states(reader, [ONE], cache)[0][:, 0] == [10, 21]).all()


FILL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.readers.test_state_cache import Counting, talk
from leadline.errors import LeadlineError
from leadline.readers.state_cache import StateCache, cached_states
reader = Counting()
cache = StateCache(reader, home=Path(sys.argv[1]))
for n in range(25):
    cached_states(reader, [talk(*["x" * n] * k) for k in range(1, 6)], cache)
"""


def test_two_processes_fill_it_at_once(tmp_path):
    here = str(ROOT)
    command = [sys.executable, "-W", "error", "-c", FILL, str(tmp_path), here]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    reader = Counting()
    states = cached_states(reader, [talk("xx", "xx", "xx")], StateCache(reader, home=tmp_path))
    assert reader.read == []
    assert (states[0][:, 0] == [2, 6]).all()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.readers import test_state_cache
from leadline.readers import state_cache
class Mortal(test_state_cache.Counting):
    def states(self, conversations, progress=None):
        if len(self.chunks) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().states(conversations, progress)
state_cache.CHUNK = 1
reader = Mortal()
state_cache.cached_states(
    reader, test_state_cache.FOUR, state_cache.StateCache(reader, home=Path(sys.argv[1]))
)
"""

FOUR = [talk("a" * n) for n in (40, 30, 20, 10)]


def test_a_killed_reading_goes_on_where_it_was(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(ROOT)]
    assert subprocess.run(command, check=False, timeout=300).returncode == -signal.SIGKILL
    reader = Counting()
    states = cached_states(reader, FOUR, StateCache(reader, home=tmp_path))
    assert reader.read == FOUR[2:]
    assert [float(s[0, 0]) for s in states] == [40, 30, 20, 10]
