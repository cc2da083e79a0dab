"""Seals that do not move, keys that are not guessed, a key that is changed."""

import base64
import pickle
import stat
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import LeadlineError, Unreachable
from leadline.store.vault import (
    KEY_VARIABLE,
    KeyConfig,
    PersonKey,
    SealBroken,
    Vault,
    new_key,
    new_key_file,
    read_key,
)

KEY = bytes(range(32))


@given(text=st.text(max_size=200), row=st.integers(0, 9))
def test_what_is_sealed_opens_in_its_place_and_in_no_other(text, row):
    key = PersonKey(KEY, "ada")
    sealed = key.seal(text, "text", row)
    assert key.open(sealed, "text", row) == text
    others = [(key, "note", row), (key, "text", row + 1), (PersonKey(KEY, "bob"), "text", row),
              (PersonKey(KEY[::-1], "ada"), "text", row)]  # fmt: skip
    for other, field, place in others:
        with pytest.raises(SealBroken):
            other.open(sealed, field, place)


def test_a_flipped_bit_of_a_seal_is_noticed_everywhere():
    key = PersonKey(KEY, "ada")
    sealed = key.seal("some words", "text", 1)
    for at in range(len(sealed)):
        broken = bytearray(sealed)
        broken[at] ^= 1
        with pytest.raises(SealBroken):
            key.open(bytes(broken), "text", 1)
    assert b"some words" not in sealed
    assert key.seal("some words", "text", 1) != sealed


def test_digests_tell_parts_apart_and_people_too():
    key = PersonKey(KEY, "ada")
    assert key.digest("ab", "c") != key.digest("a", "bc")
    assert key.digest("ab", "c") == PersonKey(KEY, "bob").digest("ab", "c")
    assert key.digest("ab") != PersonKey(KEY[::-1], "ada").digest("ab")


def test_a_store_key_is_changed_without_touching_what_is_sealed():
    old = Vault(KEY)
    key, wrapped = old.new_key("ada")
    sealed = key.seal("words", "text")
    new = old.with_key(KEY[::-1])
    again = new.person_key(old.rewrapped(wrapped, "ada", new), "ada")
    assert again.open(sealed, "text") == "words"
    assert new.find("person", "ada") == old.find("person", "ada")
    assert Vault(KEY[::-1], new.wrapped_lookup()).find("x") == old.find("x")
    with pytest.raises(SealBroken):
        new.person_key(wrapped, "ada")
    with pytest.raises(SealBroken):
        old.person_key(wrapped, "bob")


def test_two_stores_hash_alike_names_differently():
    assert Vault(KEY).find("person", "ada") != Vault(KEY).find("person", "ada")


def test_the_key_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "key"
    key = new_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(KeyConfig(key_file=path)) == key
    with pytest.raises(LeadlineError, match="already"):
        new_key_file(path)
    path.chmod(0o640)
    with pytest.raises(LeadlineError, match="Others"):
        read_key(KeyConfig(key_file=path))


def test_a_key_comes_from_the_environment_or_a_command(tmp_path, monkeypatch):
    text = base64.b64encode(KEY).decode()
    command = f"{sys.executable} -c \"print('{text}')\""
    assert read_key(KeyConfig(key_command=command)) == KEY
    monkeypatch.setenv(KEY_VARIABLE, base64.b64encode(KEY[::-1]).decode())
    assert read_key(KeyConfig(key_command=command)) == KEY[::-1]


@pytest.mark.parametrize("text", ["", "secretsecret", base64.b64encode(bytes(16)).decode()])
def test_what_is_no_key_is_refused_and_not_quoted(text, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, text)
    with pytest.raises(LeadlineError, match="no key") as refused:
        read_key(KeyConfig())
    assert not text or text not in str(refused.value)


def test_a_key_that_is_not_there_and_a_command_that_fails(tmp_path):
    with pytest.raises(LeadlineError, match="not here"):
        read_key(KeyConfig(), beside=tmp_path / "store")
    with pytest.raises(LeadlineError, match="PostgreSQL"):
        read_key(KeyConfig())
    for command in ("false", "no-such-command", "'"):
        with pytest.raises(LeadlineError, match="failed"):
            read_key(KeyConfig(key_command=command))


def test_a_broken_seal_passes_between_processes():
    error = pickle.loads(pickle.dumps(SealBroken()))
    assert isinstance(error, SealBroken)


def test_a_key_has_its_name_when_the_work_under_it_is_done(tmp_path):
    path, waiting = tmp_path / "key", tmp_path / ".key.pending"
    with pytest.raises(KeyboardInterrupt), new_key(path) as first:
        raise KeyboardInterrupt
    assert not path.exists()
    assert stat.S_IMODE(waiting.stat().st_mode) == 0o600
    with new_key(path) as second:
        assert second == first, "a killed command may have wrapped something under it"
        with pytest.raises(LeadlineError, match="Another process"), new_key(path):
            pass
    assert [file.name for file in tmp_path.iterdir()] == ["key"]
    assert read_key(KeyConfig(key_file=path)) == first


def test_a_key_that_was_refused_leaves_nothing_and_one_of_unknown_fate_stays(tmp_path):
    refused = LeadlineError("No.", remedy="Wait.")
    with pytest.raises(LeadlineError), new_key(tmp_path / "key"):
        raise refused
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unreachable), new_key(tmp_path / "key"):
        raise Unreachable("Away.", remedy="Wait.")
    assert [file.name for file in tmp_path.iterdir()] == [".key.pending"]


def test_a_half_written_key_is_written_anew(tmp_path):
    waiting = tmp_path / ".key.pending"
    waiting.write_text("AAAA")
    waiting.chmod(0o600)
    with new_key(tmp_path / "key") as key:
        assert len(key) == 32
    assert read_key(KeyConfig(key_file=tmp_path / "key")) == key


@pytest.mark.parametrize("make", [
    lambda file: file.symlink_to(file.with_name("elsewhere")),
    lambda file: (file.write_text(""), file.chmod(0o644)),
    lambda file: file.mkdir(),
])  # fmt: skip
def test_what_somebody_laid_where_a_key_waits_is_refused(tmp_path, make):
    make(tmp_path / ".key.pending")
    with pytest.raises(LeadlineError, match=r"cannot be written|not your own"):
        new_key_file(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    with pytest.raises(LeadlineError, match="cannot be written"):
        new_key_file(tmp_path / "none" / "key")
