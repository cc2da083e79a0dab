import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load, save
from tests.support.inputs import talkers, turn_inputs
from torch import nn

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.cohort.windows import Span
from leadline.errors import LeadlineError
from leadline.heads import candidates, network
from leadline.heads.candidates import NETWORK
from leadline.heads.design import Design
from leadline.heads.head import fit_head, head_state, restore_head
from leadline.heads.inputs import Turns
from leadline.heads.linear import Ridge
from leadline.heads.network import LOUDEST, Network
from leadline.runs.checkpoint import load_ensemble
from leadline.runs.config import TrainConfig
from leadline.runs.estimates import running_estimates
from leadline.runs.state_source import StateSource
from leadline.runs.train import candidates_for, train_run

X, Y = talkers(250, 0)
NEW, TRUTH = talkers(150, 1)


@pytest.fixture(scope="module")
def fitted():
    return fit_head("network", X, Y, seed=3)


def r(head):
    return np.corrcoef(head.predict(NEW)[0], TRUTH)[0, 1]


def test_it_finds_the_turns_that_tell_where_a_mean_over_turns_cannot(fitted):
    assert r(fitted) > 0.8
    assert r(Ridge.fit(X, Y)) < r(fitted) - 0.15


def test_attention_is_what_finds_them(monkeypatch, fitted):
    monkeypatch.setattr(network, "LOUDEST", 0.0)  # every turn weighs the same
    deaf = fit_head("network", X, Y, seed=3)
    without = r(deaf)
    monkeypatch.undo()
    assert without < r(fitted) - 0.03


def naive(head, reading):
    """The same network written with torch modules and a softmax."""
    x = torch.from_numpy(reading).double()
    x = (x - torch.from_numpy(head.scaler.mean)) / torch.from_numpy(head.scaler.sd)
    x = x / math.sqrt(x.shape[1])
    for weight, bias in ((head.first, head.first_bias), (head.second, head.second_bias)):
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        layer.weight.data, layer.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
        x = nn.functional.gelu(layer(x))
    share = (x @ torch.from_numpy(head.score)).clamp(-LOUDEST, LOUDEST).softmax(0)
    with torch.no_grad():
        return float(share @ x @ torch.from_numpy(head.coefficients)) + head.intercept


def test_estimates_are_those_of_a_second_implementation_and_look_at_their_reading_alone(fitted):
    spans = np.array([(4, 1, 2), (0, 0, 0), (4, 0, 3), (2, 2, 3), (4, 1, 2)])
    found, sd = fitted.predict(turn_inputs(Turns(NEW.turns.people, spans)))
    for value, (person, first, last) in zip(found, spans, strict=True):
        whole = np.concatenate([NEW.turns.people[person][view] for view in ("a", "b")], axis=1)
        assert value == pytest.approx(naive(fitted, whole[first : last + 1]), abs=1e-8)
    assert found[0] == found[4]
    assert (sd == fitted.deviation).all()


def test_weights_say_whom_to_believe():
    lies = np.arange(len(Y)) < 80
    wrong = np.where(lies, 27 - Y, Y)
    trusting = fit_head("network", X, wrong, np.ones(len(Y)))
    wary = fit_head("network", X, wrong, np.where(lies, 1e-3, 1.0))
    assert r(wary) > r(trusting) + 0.02
    with_none, with_twos = (fit_head("network", X, Y, w) for w in (None, np.full(len(Y), 2.0)))
    np.testing.assert_array_equal(with_none.predict(NEW)[0], with_twos.predict(NEW)[0])


def test_a_seed_gives_the_same_numbers_and_leaves_the_rest_of_the_program_its_own(fitted):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    again, other = (fit_head("network", X, Y, seed=seed) for seed in (3, 4))
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(again.predict(NEW)[0], fitted.predict(NEW)[0])
    assert not np.array_equal(other.predict(NEW)[0], fitted.predict(NEW)[0])


def test_it_is_restored_from_the_bytes_of_a_checkpoint(fitted):
    plain, tensors = head_state(fitted)
    again = restore_head(plain, load(save(tensors)))
    assert isinstance(again, Network)
    np.testing.assert_array_equal(again.predict(NEW)[0], fitted.predict(NEW)[0])
    tensors.pop("score")
    with pytest.raises(LeadlineError, match="not one that this version"):
        restore_head(plain, tensors)


def test_one_reading_and_equal_totals():
    two = X.take(np.array([0, 1]))
    mean, sd = fit_head("network", two, np.array([9.0, 9.0])).predict(NEW)
    np.testing.assert_allclose(mean, 9.0, atol=0.5)
    assert (sd > 0).all()


def test_a_column_that_never_changes_is_ignored(fitted):
    def still(x):
        people = tuple({**one, "b": np.full_like(one["b"], 7)} for one in x.turns.people)
        return turn_inputs(Turns(people, x.turns.spans))

    head = fit_head("network", still(X), Y)
    found = head.predict(still(NEW))[0]
    assert np.isfinite(found).all()
    moved = tuple({**one, "b": one["b"] + 1} for one in still(NEW).turns.people)
    np.testing.assert_array_equal(
        head.predict(turn_inputs(Turns(moved, NEW.turns.spans)))[0], found
    )


def test_noise_drawn_after_the_layer_is_that_of_noise_in_its_input():
    torch.manual_seed(0)
    layer = nn.Linear(6, 3)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        found = network._noisy(layer, torch.zeros(200_000, 6))
        expected = network.NOISE**2 / 6 * layer.weight @ layer.weight.T
    assert torch.allclose(found.T.cov(), expected, atol=3e-3)
    assert expected.abs().max() > 0.03


def test_turns_are_left_out_of_every_step_and_no_reading_is_emptied():
    torch.manual_seed(0)
    starts, lengths = torch.tensor([10, 0, 40]), torch.tensor([300, 1, 500])
    rows, owner = network._some_turns(starts, lengths)
    for number, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        mine = rows[owner == number]
        assert len(set(mine.tolist())) == len(mine)
        assert start <= mine.min()
        assert mine.max() == start + length - 1  # the last turn stays
    assert len(rows) / 801 == pytest.approx(1 - network.TURNS_LEFT_OUT, abs=0.06)


def test_each_reading_has_its_place_in_every_round_of_steps():
    torch.manual_seed(0)
    batches = network._batches(150, 7)
    assert [len(batch) for batch in batches] == [64, 64, 22, 64, 64, 22, 64]
    for at in (0, 3):
        assert sorted(torch.cat(batches[at : at + 3]).tolist()) == list(range(150))


def test_a_design_knows_its_turns(simulated, sentence_reader, home):
    source = StateSource(str(sentence_reader), home=home)
    states = source.read(list(timelines(simulated))[:4])
    design = Design.of(source.directions, states, [Span(1, 0, 2), Span(3, 1, 1)], "mean")
    both = design.take(np.array([1])).join(design)
    assert both.turns.spans[:, 1:].tolist() == [[1, 1], [0, 2], [1, 1]]
    (view,) = source.views
    np.testing.assert_array_equal(both.turns.people[both.turns.spans[1, 0]][view],
                                  states[1].views[view])  # fmt: skip
    assert both.inputs([view], []).turns is both.turns


@pytest.mark.parametrize(
    ("more", "said"),
    [({"pool": "last"}, "--pool last"), ({"adapt": "lora"}, "--adapt lora"),
     ({"head": "scalar"}, "--head scalar")],
)  # fmt: skip
def test_settings_that_contradict_it_are_refused(more, said):
    with pytest.raises(LeadlineError, match=said):
        TrainConfig(fit="network", **more)


def test_it_is_fitted_when_asked_for_by_name():
    assert candidates_for(TrainConfig(fit="network"), 50_000) == (NETWORK,)
    assert NETWORK not in candidates_for(TrainConfig(), 50_000)


def test_a_run_with_it_is_trained_scored_and_reloaded(tmp_path, simulated, quick, home):
    config = replace(quick, fit="network", folds=2, baselines=False)
    train_run(simulated, tmp_path / "run", config, WindowConfig(), home=home)
    ensemble, window = load_ensemble(tmp_path / "run", home=home)
    written = pl.read_parquet(tmp_path / "run" / "estimates.parquet")
    names = written["person_id"].unique().sort().to_list()[:3]
    people = [p for p in timelines(simulated) if p.person_id in names]
    again = running_estimates(ensemble, people, window, "x")
    both = written.join(again, on=["person_id", "conversation_id", "turn"], suffix="_again")
    assert both.height == again.height > 0
    assert (both["mean"] - both["mean_again"]).abs().max() < 1e-6
    assert again["mean"].std() > 0


def test_a_network_is_calibrated_on_everyone_however_many(monkeypatch):
    """A network fitted to fewer people shrinks more, so a part of them would mislead."""
    monkeypatch.setattr(candidates, "PEOPLE_FOR_SELECTION", 60)
    seen = []
    monkeypatch.setattr(
        candidates, "cross_validated_estimates",
        lambda candidate, rows, folds, seed: seen.append(len(rows.total))
        or (rows.total + 1.0, np.ones(len(rows.total))),
    )  # fmt: skip
    ones, person = np.ones(len(Y)), np.arange(len(Y))
    design = Design(X.states, {view: np.zeros((len(Y), 1)) for view in X.states}, ones, X.turns)
    rows = candidates.LabelledReadings(design, Y, ones, person, person >= 0, ones)
    for candidate in (NETWORK, candidates.Candidate("ridge", per_view=False)):
        candidates.fit_frozen(rows, (candidate,), inner_folds=2, seed=0)
    assert seen == [len(Y), 60]


def test_training_reads_the_turns_of_its_readings_alone():
    spans = X.turns.spans + np.array([0, 1, -1])  # the first and the last turn are in none
    inner = Turns(X.turns.people, spans)

    def changed(one):
        out = {view: x.copy() for view, x in one.items()}
        for x in out.values():
            x[[0, -1]] = 50.0
        return out

    other = Turns(tuple(changed(one) for one in X.turns.people), spans)
    again = Turns(inner.people, np.repeat(spans, 2, axis=0))
    first, second = (fit_head("network", turn_inputs(turns), Y) for turns in (inner, other))
    np.testing.assert_array_equal(first.first, second.first)
    states, starts, lengths = network._flat(again, ("a", "b"))
    assert len(states) == (spans[:, 2] - spans[:, 1] + 1).sum()
    for row in (0, 1, 77, 499):
        person, a, b = again.spans[row]
        np.testing.assert_array_equal(
            states[starts[row] : starts[row] + lengths[row]],
            inner.states(person, ("a", "b"))[a : b + 1],
        )


def test_the_deviation_is_that_of_the_totals_however_long_the_training(monkeypatch, fitted):
    """The fit of the training people narrows with every step, that of others does not."""
    weight = np.where(np.arange(len(Y)) < 50, 3.0, 1.0)
    expected = np.sqrt(np.cov(Y, aweights=weight, ddof=0))
    assert fit_head("network", X, Y, weight).deviation == pytest.approx(expected)
    monkeypatch.setattr(network, "LEAST_STEPS", 20)
    monkeypatch.setattr(network, "EPOCHS", 1)
    short = fit_head("network", X, Y, seed=3)
    assert short.deviation == fitted.deviation
    assert r(short) < r(fitted)
