import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leadline.finetune.config import ADAPTED_POOLS
from leadline.finetune.pool import Pool, inside

STATES = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
TOKENS = torch.tensor([3, 1, 4, 1, 5, 9])
READINGS = torch.tensor([[0, 0], [0, 3], [2, 5], [4, 4], [0, 5]])


def test_mean_and_tokens_against_plain_averages():
    by_turn = Pool("mean", 5)(STATES, TOKENS, READINGS)
    by_token = Pool("tokens", 5)(STATES, TOKENS, READINGS)
    for row, (first, last) in enumerate(READINGS.tolist()):
        some, sizes = STATES[first : last + 1].numpy(), TOKENS[first : last + 1].numpy()
        np.testing.assert_allclose(by_turn[row], some.mean(0), atol=1e-6)
        np.testing.assert_allclose(
            by_token[row], np.average(some, axis=0, weights=sizes), atol=1e-6
        )


def test_last_takes_the_last_turn():
    assert torch.equal(Pool("last", 5)(STATES, TOKENS, READINGS), STATES[READINGS[:, 1]])


def test_attention_starts_as_the_mean_and_then_prefers_its_direction():
    pool = Pool("attention", 5)
    same = pool(STATES, TOKENS, READINGS)
    assert torch.allclose(same, Pool("mean", 5)(STATES, TOKENS, READINGS), atol=1e-6)
    pool.query.data = 50 * STATES[2]
    weights = pool.weights(STATES, TOKENS, READINGS)
    assert weights[1].argmax() == 2
    assert torch.allclose(weights.sum(1), torch.ones(5))


@pytest.mark.parametrize("kind", ADAPTED_POOLS)
@given(data=st.data())
def test_a_reading_sees_only_its_own_turns(kind, data):
    first = data.draw(st.integers(0, 5))
    last = data.draw(st.integers(first, 5))
    pool = Pool(kind, 5)
    if pool.query is not None:
        pool.query.data = torch.arange(5.0)
    reading = torch.tensor([[first, last]])
    changed = STATES.clone()
    changed[~inside(reading, 6)[0]] += 100
    before, after = pool(STATES, TOKENS, reading), pool(changed, TOKENS, reading)
    assert torch.allclose(before, after, atol=1e-6)


def test_bfloat16_states_are_pooled_in_float32():
    assert Pool("mean", 5)(STATES.bfloat16(), TOKENS, READINGS).dtype == torch.float32
