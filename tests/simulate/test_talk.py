"""What people say as numbers: each rule of the process, replayed from what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.simulate.config import preset
from leadline.simulate.item_response import ITEM_COUNT
from leadline.simulate.phrase_bank import (
    BARE,
    CLOSE,
    EVASIVE,
    FIRST,
    FRAMES,
    LIFE,
    NEGATED,
    OPEN,
    RESOLVED,
    TONES,
)
from leadline.simulate.talk import (
    NO_FRAME,
    NO_TONE,
    NODE_VALUES,
    NODE_WEIGHTS,
    STIGMA,
    TOPICS,
    TOPICS_B,
    contrasted,
    draw_traits,
    evasion,
    tone_probabilities,
)
from leadline.simulate.world import World, draw_world

CONFIG = preset("paper", people=800, gold=300, locked=200)
WITH_LEVEL = (BARE, FIRST, NEGATED, RESOLVED)


@pytest.fixture(scope="module")
def world() -> World:
    return draw_world(CONFIG)


def turns(world: World):
    """Person and turn of everything that was said."""
    return np.nonzero(world.talk.session >= 0)


def test_every_number_of_a_turn_is_there_and_none_beyond_the_last(world) -> None:
    said = world.talk.session >= 0
    for name in ("form", "topic", "frame", "tone", "template"):
        assert ((getattr(world.talk, name) >= 0) == said).all(), name
    assert (world.talk.level[~said] == -1).all()
    np.testing.assert_array_equal(said.sum(axis=1), world.schedule.total_turns)


def test_a_frame_is_opened_aloud_lasts_and_ends_with_its_session(world) -> None:
    """The state after each turn, from the state before it and what was said."""
    talk, openings = world.talk, 0
    for person in range(CONFIG.people):
        state, session = NO_FRAME, -1
        for turn in range(world.schedule.total_turns[person]):
            if talk.session[person, turn] != session:
                state, session = NO_FRAME, talk.session[person, turn]
            form, after = talk.form[person, turn], talk.frame[person, turn]
            if form == OPEN:
                assert state == NO_FRAME
                assert after == talk.topic[person, turn] + 1
                openings += 1
            elif form == CLOSE:
                assert state > NO_FRAME
                assert after == NO_FRAME
                assert talk.topic[person, turn] == state - 1
            else:
                assert after in (state, NO_FRAME), "it may end without a word, but not begin"
            state = after
    assert openings > 300


def test_inside_a_frame_symptoms_are_told_bare(world) -> None:
    talk = world.talk
    inside = (talk.frame > NO_FRAME) & (talk.form != OPEN)
    assert set(np.unique(talk.form[inside])) == {BARE, LIFE}
    assert set(np.unique(talk.frame[inside])) == {1, 2, 3}


def test_only_forms_about_a_current_symptom_carry_a_level(world) -> None:
    talk = world.talk
    carries = np.isin(talk.form, WITH_LEVEL)
    assert ((talk.level >= 0) == carries).all()
    assert talk.level.max() == 3


def test_topics_are_those_of_their_form(world) -> None:
    talk, bank = world.talk, world.bank
    most = {LIFE: len(bank.life_topics), OPEN: len(FRAMES), CLOSE: len(FRAMES)}
    for form in np.unique(talk.form[talk.form >= 0]):
        topics = talk.topic[talk.form == form]
        assert topics.min() >= 0
        assert topics.max() < most.get(int(form), ITEM_COUNT)


def test_a_template_is_one_of_its_form_topic_and_half_that_can_say_its_level(world) -> None:
    talk, bank = world.talk, world.bank
    person, turn = turns(world)
    template = talk.template[person, turn]
    np.testing.assert_array_equal(bank.form[template], talk.form[person, turn])
    np.testing.assert_array_equal(bank.topic[template], talk.topic[person, turn])
    half = world.locked[person].astype(int)
    level = np.maximum(talk.level[person, turn], 0)
    assert (bank.share[half, template, level] > 0).all()
    halves = bank.share.sum(axis=2) > 0
    only_held = halves[1] & ~halves[0]
    assert not only_held[template[half == 0]].any(), "held-out words are for locked people"


def test_nobody_tells_the_same_piece_of_life_twice_before_all_are_told(world) -> None:
    talk, bank = world.talk, world.bank
    for person in range(CONFIG.people):
        told = talk.template[person][talk.form[person] == LIFE]
        half = int(world.locked[person])
        pieces = ((bank.form == LIFE) & (bank.share[half].sum(axis=1) > 0)).sum()
        assert len(set(told.tolist())) == min(len(told), pieces)


def test_an_opening_and_a_closing_have_no_tone_before_them(world) -> None:
    talk = world.talk
    framing = np.isin(talk.form, (OPEN, CLOSE))
    assert set(talk.tone[framing].tolist()) == {NO_TONE}
    assert set(np.unique(talk.tone[talk.tone >= 0])) == set(range(len(TONES)))


def test_tones_follow_the_trait_and_not_severity(world) -> None:
    talk, trait = world.talk, world.people.trait
    plain = (talk.tone >= 0) & ~np.isin(talk.form, (OPEN, CLOSE))
    mean = np.array([(row[mask] - 1).mean() for row, mask in zip(talk.tone, plain, strict=True)])
    assert np.corrcoef(mean, trait)[0, 1] > 0.5
    assert abs(np.corrcoef(mean, world.severity.session[:, 0])[0, 1]) < 0.12


def test_what_is_told_in_a_frame_is_the_opposite_of_the_person(world) -> None:
    talk = world.talk
    here = np.take_along_axis(world.severity.session, np.maximum(talk.session, 0), axis=1)
    bare = talk.form == BARE
    inside, outside = bare & (talk.frame > 0), bare & (talk.frame == 0)
    assert np.corrcoef(here[inside], talk.level[inside])[0, 1] < -0.1
    assert np.corrcoef(here[outside], talk.level[outside])[0, 1] > 0.3


def test_questions_are_often_taken_up(world) -> None:
    talk = world.talk
    about = (talk.asked_item >= 0) & np.isin(talk.form, (*WITH_LEVEL, EVASIVE))
    took_up = (talk.asked_item == talk.topic)[about].mean()
    assert took_up > CONFIG.follow_share - 0.05
    shares = (
        np.bincount(talk.asked_item[talk.asked_item >= 0], minlength=ITEM_COUNT)
        / (talk.asked_item >= 0).sum()
    )
    assert np.corrcoef(shares, TOPICS)[0, 1] > 0.8


SEVERITY = st.floats(-4, 6)


@given(SEVERITY, SEVERITY, st.integers(0, ITEM_COUNT - 1), st.floats(0, 3))
def test_evasion_rises_with_severity_and_is_never_certain(one, other, item, stigma) -> None:
    config = preset("paper", stigma=stigma)
    low, high = evasion(np.array([min(one, other), max(one, other)]), item, config)
    assert 0 <= low <= high <= 0.9
    assert evasion(np.array(one), item, preset("paper", stigma=0.0)) == 0


def test_stigmatised_items_are_evaded_more() -> None:
    chance = [float(evasion(np.array(2.0), item, CONFIG)) for item in range(ITEM_COUNT)]
    assert np.argsort(chance).tolist() == np.argsort(STIGMA).tolist()


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_tones_are_probabilities_and_mirror_the_trait(one, other) -> None:
    found = tone_probabilities(np.array([one, -one, other]))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    np.testing.assert_allclose(found[0], found[1][::-1])
    low, high = sorted((0, 2), key=lambda row: (one, 0, other)[row])
    assert found[high, 2] >= found[low, 2]


@given(SEVERITY, st.floats(0, 1))
def test_a_contrast_of_nothing_tells_nothing(severity, contrast) -> None:
    config = preset("paper", contrast=contrast)
    one, two = contrasted(np.array([severity, severity + 1.0]), config)
    assert one - two == pytest.approx(contrast)
    around = float(contrasted(np.array(config.severity_mean), config))
    assert around == pytest.approx(config.severity_mean + 0.2)


def test_traits_take_the_values_of_a_normal_by_quadrature() -> None:
    """Seven nodes give the moments of a standard normal up to the thirteenth exactly."""
    assert NODE_WEIGHTS.sum() == pytest.approx(1)
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15), (12, 10395)):
        assert NODE_WEIGHTS @ NODE_VALUES**power == pytest.approx(moment, abs=1e-8)
    items, trait = draw_traits(preset("paper", people=5000), np.random.default_rng(1))
    assert items.shape == (5000, ITEM_COUNT)
    assert items.std() == pytest.approx(CONFIG.item_sd, rel=0.03)
    assert set(np.round(trait, 9)) <= set(np.round(NODE_VALUES, 9))
    assert abs(np.corrcoef(items[:, 0], items[:, 1])[0, 1]) < 0.06


def test_tastes_are_shares() -> None:
    for taste in (TOPICS, TOPICS_B):
        assert taste.shape == (ITEM_COUNT,)
        assert taste.sum() == pytest.approx(1)
        assert (taste > 0).all()
