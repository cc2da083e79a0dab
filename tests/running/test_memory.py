"""What a causal model keeps of a text, against plain tensors."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.readers import tiny_reader

from leadline.errors import LeadlineError
from leadline.readers.backbone import load_backbone
from leadline.running.memory import (
    BatchCache,
    KeyValues,
    Memory,
    Recurrent,
    check_layers,
    no_decay,
    restore_memory,
)

HEADS, WIDTH = 2, 3


def drawn(tokens, seed):
    """Keys and values (heads, tokens, width) of some tokens."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(HEADS, tokens, WIDTH, generator=generator) for _ in range(2))


def held(memory, tokens):
    return memory.data[0, :, :tokens], memory.data[1, :, :tokens]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_what_is_appended_lies_end_to_end(counts):
    parts = [drawn(count, seed) for seed, count in enumerate(counts)]
    memory = KeyValues.of(*parts[0])
    for at, part in zip(torch.tensor(counts).cumsum(0).tolist(), parts[1:], strict=False):
        memory = memory.append(at, *part)
    assert memory.used == sum(counts) <= memory.data.shape[2]
    for which, values in enumerate(held(memory, memory.used)):
        assert torch.equal(values, torch.cat([part[which] for part in parts], dim=1))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_a_memory_can_be_continued_twice_from_the_same_place(first, one, other):
    """The second continuation leaves what the first one made as it was."""
    base = KeyValues.of(*drawn(first, 0))
    left = base.append(first, *drawn(one, 1))
    before = [x.clone() for x in held(left, first + one)]
    right = base.append(first, *drawn(other, 2))
    assert all(torch.equal(x, y) for x, y in zip(held(left, first + one), before, strict=True))
    assert torch.equal(held(right, first + other)[0][:, first:], drawn(other, 2)[0])
    for memory in (left, right):
        assert torch.equal(held(memory, first)[0], drawn(first, 0)[0])


def test_the_first_tokens_are_copied():
    keys, values = drawn(3, 0)
    memory = KeyValues.of(keys, values)
    keys.zero_()
    assert not torch.equal(memory.data[0], keys)


def test_room_to_grow_is_used_before_it_is_made_again():
    memory = KeyValues.of(*drawn(8, 0)).append(8, *drawn(1, 1))
    again = memory.append(9, *drawn(1, 2))
    assert again is memory
    assert again.data.shape[2] >= 10


def memory_of(tokens, seed=0):
    generator = torch.Generator().manual_seed(seed)
    recurrent = Recurrent(
        torch.randn(4, 3, generator=generator), torch.randn(2, 3, 3, generator=generator)
    )
    return Memory(tokens, (KeyValues.of(*drawn(tokens, seed)), recurrent))


@given(st.integers(1, 9), st.integers(0, 5))
def test_a_memory_is_restored_from_its_tensors(tokens, more):
    memory = memory_of(tokens)
    grown = Memory(tokens, (memory.layers[0].append(tokens, *drawn(more + 1, 3)), memory.layers[1]))
    plain = grown.tensors()
    assert plain["0.keys"].shape[1] == tokens, "the room to grow is left out"
    again = restore_memory(tokens, plain)
    assert again.tokens == tokens
    assert plain.keys() == again.tensors().keys()
    assert all(torch.equal(plain[name], x) for name, x in again.tensors().items())


def test_bytes_are_those_of_all_tensors_with_the_room_to_grow():
    memory = memory_of(5)
    keys, recurrent = memory.layers
    assert memory.nbytes == keys.data.nbytes + recurrent.conv.nbytes + recurrent.state.nbytes


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda x: x.pop("0.values"), KeyError),
        (lambda x: x.pop("1.state"), KeyError),
        (lambda x: x.update({"0.keys": x["0.keys"][:, :-1]}), ValueError),
        (lambda x: x.update({"0.values": x["0.values"][:, :-1]}), ValueError),
    ],
)
def test_a_memory_with_something_missing_is_not_restored(change, error):
    plain = memory_of(4).tensors()
    change(plain)
    with pytest.raises(error):
        restore_memory(4, plain)


@pytest.fixture(scope="module", params=["llama", "qwen"])
def backbone(request, tmp_path_factory):
    """With weights as small as Qwen's own, above which its recurrence magnifies rounding."""
    spread = {"llama": 0.2, "qwen": 0.02}[request.param]
    path = tiny_reader(tmp_path_factory.mktemp("memory"), request.param, spread)
    return load_backbone(path, torch.float32)


def read(model, texts, memories, **more):
    """One forward pass over token lists of people with these memories; their memories after."""
    new = [len(text) for text in texts]
    ids = torch.zeros(len(texts), max(new), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    cache = BatchCache(memories, new, model)
    with torch.no_grad(), no_decay(model, new):
        hidden = model(input_ids=ids, **cache.inputs(), **more).last_hidden_state
    return [hidden[row, :count] for row, count in enumerate(new)], cache.memories()


TEXTS = st.lists(st.lists(st.integers(3, 200), min_size=1, max_size=6), min_size=1, max_size=4)


@settings(max_examples=12)
@given(TEXTS, TEXTS)
def test_people_read_together_have_the_memories_of_each_alone(backbone, first, second):
    count = min(len(first), len(second))
    first, second = first[:count], second[:count]
    _, memories = read(backbone, first, [None] * count)
    hidden, after = read(backbone, second, memories)
    for row in range(count):
        whole, (alone,) = read(backbone, [first[row] + second[row]], [None])
        torch.testing.assert_close(hidden[row], whole[0][len(first[row]) :], atol=3e-5, rtol=1e-4)
        assert after[row].tokens == alone.tokens == len(first[row]) + len(second[row])
        for name, value in alone.tensors().items():
            torch.testing.assert_close(after[row].tensors()[name], value, atol=3e-5, rtol=1e-4)


def test_the_mask_shows_each_person_their_own_old_tokens_and_no_later_ones(backbone):
    _, memories = read(backbone, [[5, 6, 7], [8]], [None, None])
    mask = BatchCache(memories, [2, 2], backbone).inputs()["attention_mask"]
    assert mask.shape == (2, 1, 2, 3 + 2)
    assert mask[0, 0].int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert mask[1, 0].int().tolist() == [[1, 0, 0, 1, 0], [1, 0, 0, 1, 1]]
    positions = BatchCache(memories, [2, 2], backbone).inputs()["position_ids"]
    assert positions.tolist() == [[3, 4], [1, 2]]


def test_where_causality_alone_is_right_there_is_no_mask(backbone):
    _, memories = read(backbone, [[5, 6]], [None])
    assert BatchCache(memories, [1], backbone).inputs()["attention_mask"] is None
    assert BatchCache([None, None], [1, 3], backbone).inputs()["attention_mask"] is None


def test_the_gates_are_closed_at_the_padding_alone_and_opened_again(language_paths):
    model = load_backbone(language_paths["qwen"], torch.float32)
    gates = [part for name, part in model.named_modules() if name.endswith("in_proj_a")]
    x = torch.randn(2, 3, gates[0].weight.shape[1])
    plain = gates[0](x)
    with no_decay(model, [3, 1]):
        closed = gates[0](x)
    assert torch.equal(closed[0], plain[0])
    assert torch.equal(closed[1, :1], plain[1, :1])
    assert (closed[1, 1:] < -1000).all()
    assert torch.equal(gates[0](x), plain)
    with no_decay(model, [2, 2]):
        assert not any(gate._forward_hooks for gate in gates), "nothing to close"


def test_the_gates_are_opened_again_after_an_error(language_paths):
    model = load_backbone(language_paths["qwen"], torch.float32)
    with pytest.raises(KeyboardInterrupt), no_decay(model, [1, 2]):
        raise KeyboardInterrupt
    assert not any(part._forward_hooks for part in model.modules())


def test_a_model_that_slides_its_attention_is_refused():
    from transformers import MistralConfig

    config = MistralConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=8, sliding_window=4,
    )  # fmt: skip
    model = SimpleNamespace(config=config, layers=[torch.nn.Linear(1, 1)] * 2)
    with pytest.raises(LeadlineError, match="does not know how"):
        check_layers(model)


def test_models_that_are_known_pass(backbone):
    check_layers(backbone)
