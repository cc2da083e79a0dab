from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.readers import talk, tiny_reader

from leadline.artefact import write_manifest
from leadline.cohort.masking import Asked
from leadline.errors import LeadlineError
from leadline.heads.terms import count_terms
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.running.memory import KeyValues
from leadline.running.reader import Context, NewMessages, RunningReader
from leadline.running.state_store import (
    ReadingState,
    StateStore,
    load_reading,
    new_reading,
    save_reading,
)

CPU = torch.device("cpu")


def course_of(reader, messages):
    (read,) = RunningReader(reader).read([NewMessages(Context(), messages)])
    return ReadingState(
        contexts=(read.context, Context(3)),
        states=(read.states, np.zeros((len(read.states), 2), np.float32)),
        sizes=(read.sizes, read.sizes.copy()),
        words=np.arange(len(read.sizes)),
        times=np.array(["2025-03-01", "NaT"], "datetime64[us]"),
        read=len(messages),
        turns=7,
        edge=np.datetime64("2025-02-01T00:00:00.000001", "us"),
        latest=np.datetime64("2025-03-01T00:00:00.000001", "us"),
        questionnaire=Asked(True, 2),
        terms=count_terms(["so tired", "fine"]),
    )


def test_a_state_of_before_knows_only_whether_an_answer_is_due(tmp_path):
    path = tiny_reader(tmp_path, "llama", 0.02)
    reader = LMReader(str(path), ReaderConfig(layers=(0.5, 1.0), dtype="float32"))
    course = replace(course_of(reader, talk("so tired")), questionnaire=(True, 2))
    save_reading(tmp_path / "state.safetensors", course, "me")
    loaded = load_reading(tmp_path / "state.safetensors", "me", [reader.device] * 2)
    assert loaded.questionnaire == Asked(True, 2, False, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_what_is_loaded_is_what_was_saved_and_goes_on_with_the_same_bits(tmp_path, kind, dtype):
    path = tiny_reader(tmp_path, kind, 0.02)
    reader = LMReader(str(path), ReaderConfig(layers=(0.5, 1.0), dtype=dtype))
    course = course_of(reader, talk("so tired", "why is that", "can not sleep"))
    file = tmp_path / "state.safetensors"
    size = save_reading(file, course, "me")
    assert size == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == [kind, file.name]
    for secret in (b"tired", b"sleep", b"why"):
        assert secret not in file.read_bytes()
    back = load_reading(file, "me", [CPU, CPU])
    assert load_reading(file, "someone else", [CPU, CPU]) is None
    for name in ("read", "turns", "edge", "latest", "questionnaire"):
        assert getattr(back, name) == getattr(course, name)
    for name in ("words", "times"):
        np.testing.assert_array_equal(getattr(back, name), getattr(course, name))
    assert [c.lengths for c in back.contexts] == [c.lengths for c in course.contexts]
    one, other = course.contexts[0].memory.tensors(), back.contexts[0].memory.tensors()
    assert one.keys() == other.keys()
    assert all(x.dtype == other[name].dtype for name, x in one.items())
    assert all(torch.equal(x, other[name]) for name, x in one.items())
    running = RunningReader(reader)
    both = [
        running.read([NewMessages(context, talk("fine today", "good", "not at all"))])[0]
        for context in (course.contexts[0], back.contexts[0])
    ]
    np.testing.assert_array_equal(both[0].states, both[1].states)
    assert both[0].context.memory.tokens == both[1].context.memory.tokens


def test_someone_new_has_no_size_and_no_estimate(tmp_path):
    course = new_reading([4, 2])
    assert (course.nbytes, course.read) == (0, 0)
    save_reading(tmp_path / "new.safetensors", course, "me")
    back = load_reading(tmp_path / "new.safetensors", "me", [CPU, CPU])
    assert [x.shape for x in back.states] == [(0, 4), (0, 2)]
    assert back.read == 0
    assert np.isnat(back.edge)
    assert np.isnat(back.latest)


def test_keys_and_values_only_grow():
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 2, 30, 4, generator=generator)
    held = KeyValues.of(keys[:, :10], values[:, :10])
    first = held.append(10, keys[:, 10:12], values[:, 10:12])
    assert first is not held
    assert first.append(12, keys[:, 12:13], values[:, 12:13]) is first, "there was room"
    branch = first.append(11, keys[:, 20:21], values[:, 20:21])
    assert branch is not first
    assert torch.equal(first.data[0, :, :13], keys[:, :13])
    assert torch.equal(branch.data[1, :, :12], values[:, [*range(11), 20]])


def test_the_least_recently_used_leave_first(tmp_path):
    def some(number):
        blank = new_reading([250])
        states = (np.full((1, 250), number, np.float32),)
        return ReadingState(blank.contexts, states, blank.sizes, read=number)

    store = StateStore("me", [CPU], folder=tmp_path / "s", memory_bytes=2500, disk_bytes=1e9)
    for number in range(4):
        store.put({f"p{number}": some(number)})
        store.get("p0")
    assert store.memory_used <= 2500
    assert [store.get(f"p{number}").read for number in range(4)] == [0, 1, 2, 3]
    store.close()
    again = StateStore("me", [CPU], folder=tmp_path / "s", memory_bytes=1e9, disk_bytes=1e9)
    assert again.disk_used == sum(p.stat().st_size for p in (tmp_path / "s").glob("*.safetensors"))
    again.put({"p1": some(9)})
    assert sum(p.stat().st_size > 0 for p in (tmp_path / "s").glob("*.safetensors")) == 3
    assert again.get("p1").read == 9
    again.close()
    with pytest.raises(LeadlineError):
        StateStore("me", [CPU], folder=tmp_path / "s" / ".lock" / "x", memory_bytes=1, disk_bytes=1)


OTHERS = {
    "weights of a reader": "model.safetensors",
    "a notebook": "notes.txt",
    "a manifest": "manifest.json",
    "a folder": "deep/x",
}


@pytest.mark.parametrize("name", OTHERS.values(), ids=OTHERS)
def test_a_folder_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path, name):
    folder = tmp_path / "states"
    file = folder / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(LeadlineError, match="something other than states"):
        StateStore("m", [CPU], folder=folder, memory_bytes=1e6, disk_bytes=1e6)
    assert [path.name for path in folder.iterdir()] == [name.partition("/")[0]]
    assert file.read_text() == "mine"


def test_a_folder_in_an_artefact_is_refused(tmp_path):
    write_manifest(tmp_path, kind="run", command="x", settings={}, inputs={})
    with pytest.raises(LeadlineError, match="something other than states"):
        StateStore("m", [CPU], folder=tmp_path / "checkpoint", memory_bytes=1e6, disk_bytes=1e6)


def test_what_a_kill_left_half_written_goes(tmp_path):
    folder = tmp_path / "states"
    folder.mkdir()
    for name in (f".{'0' * 32}.safetensors.1-0123abcd", ".owner.1-0123abcd"):
        (folder / name).touch()
    StateStore("m", [CPU], folder=folder, memory_bytes=1e6, disk_bytes=1e6).close()
    assert [path.name for path in folder.iterdir()] == [".lock"]
