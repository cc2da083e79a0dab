"""Nodes of a run of rounds: computed once, whole on disk or not there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from leadline.selftrain import node_store
from leadline.selftrain.node_store import NodeStore

KINDS = st.sampled_from([np.float64, np.float32, np.int64, np.bool_])
SHAPES = array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
VALUES = KINDS.flatmap(lambda kind: arrays(kind, SHAPES))


def counting(node):
    calls = []

    def make():
        calls.append(1)
        return node

    return make, calls


def same(one, other):
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and np.array_equal(one[key], other[key], equal_nan=True)
        if one[key].dtype.kind == "f"
        else one[key].dtype == other[key].dtype and np.array_equal(one[key], other[key])
        for key in one
    )


@given(st.dictionaries(st.sampled_from("abcde"), VALUES, min_size=1))
def test_a_node_comes_back_as_it_was_in_kind_and_shape(tmp_path_factory, node):
    folder = tmp_path_factory.mktemp("nodes")
    NodeStore(folder).get("n", lambda: node)
    again, calls = counting({})
    assert same(NodeStore(folder).get("n", again), node)
    assert not calls


def test_a_node_is_made_once_by_a_process_and_once_by_all(tmp_path):
    make, calls = counting({"x": np.arange(3)})
    store = NodeStore(tmp_path / "deep" / "nodes")
    first, second = store.get("a", make), store.get("a", make)
    assert first is second
    assert (len(calls), store.made) == (1, 1)
    later = NodeStore(tmp_path / "deep" / "nodes")
    np.testing.assert_array_equal(later.get("a", make)["x"], np.arange(3))
    assert (len(calls), later.made) == (1, 0)


def test_nodes_do_not_mix(tmp_path):
    store = NodeStore(tmp_path)
    for number in range(5):
        store.get(f"node-{number}", lambda n=number: {"x": np.array([n])})
    again = NodeStore(tmp_path)
    assert [int(again.get(f"node-{n}", dict)["x"][0]) for n in (3, 0, 4)] == [3, 0, 4]


def test_what_failed_while_it_was_made_is_made_again(tmp_path):
    store = NodeStore(tmp_path)

    def fails():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get("a", fails)
    assert list(tmp_path.iterdir()) == []
    assert store.get("a", lambda: {"x": np.ones(2)})["x"].sum() == 2
    assert store.made == 1


def test_what_was_cut_off_while_it_was_written_is_not_taken_for_a_node(tmp_path, monkeypatch):
    def stops(stream, **arrays):
        stream.write(b"PK half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(node_store.np, "savez", stops)
    with pytest.raises(KeyboardInterrupt):
        NodeStore(tmp_path).get("a", lambda: {"x": np.ones(2)})
    monkeypatch.undo()
    assert not (tmp_path / "a.npz").exists()
    make, calls = counting({"x": np.ones(2)})
    NodeStore(tmp_path).get("a", make)
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"], "the half is gone too"


def test_objects_are_neither_written_nor_read(tmp_path):
    """A node is numbers: nothing that runs code when it is opened."""
    with pytest.raises(ValueError, match="Object arrays"):
        NodeStore(tmp_path).get("a", lambda: {"x": np.array([{}], dtype=object)})
    np.savez(tmp_path / "b.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays"):
        NodeStore(tmp_path).get("b", dict)


def test_progress_counts_what_is_at_hand_read_or_made(tmp_path):
    seen = []
    NodeStore(tmp_path).get("a", lambda: {"x": np.ones(1)})
    store = NodeStore(tmp_path)
    store.progress = seen.append
    store.get("a", dict)
    store.get("b", lambda: {"x": np.ones(1)})
    store.get("a", dict)
    assert seen == [1, 2]


def test_a_node_of_an_earlier_version_is_made_anew(tmp_path):
    NodeStore(tmp_path).get("n", lambda: {"mean": np.zeros(2)})
    make, calls = counting({"mean": np.ones(2), "trained": np.arange(3)})
    node = NodeStore(tmp_path).get("n", make, needs="trained")
    assert calls
    assert node["mean"].tolist() == [1, 1]
    again = NodeStore(tmp_path).get("n", lambda: pytest.fail("made twice"), needs="trained")
    assert again["trained"].tolist() == [0, 1, 2]
