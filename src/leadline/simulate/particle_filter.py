"""The best possible predictor: a Rao-Blackwellised particle filter over severity.

A particle holds severity at the sessions so far, a sudden change, the style trait, and whether
a frame holds. Given these, the rest is exact: the stable level and the path between sessions
are jointly normal and integrated out (so is the 14-day mean), the frame is drawn from its exact
conditional, and the deviation of each item has its own exact discrete posterior. Method:
Doucet, de Freitas, Murphy & Russell (2000), Rao-Blackwellised particle filtering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leadline.arrays import Array, Bools, Ints
from leadline.phq9.items import TOTALS
from leadline.simulate.config import SimulateConfig
from leadline.simulate.item_response import ITEM_COUNT
from leadline.simulate.likelihood import Likelihood, place
from leadline.simulate.phrase_bank import CLOSE, OPEN, Bank
from leadline.simulate.severity import covariance, jump_share
from leadline.simulate.talk import NODE_VALUES, NODE_WEIGHTS, NODES, tone_probabilities

DRAWS = 96  # particles whose exact distribution of the total is averaged, unless told


@dataclass(frozen=True)
class Observed:
    """What the filter sees of some people.

    Attributes:
        template: template numbers in order of speech, (people, turns), -1 beyond the last.
        tone: index into bank.TONES, the same shape.
        session: session of each turn, the same shape.
        start: day of each session, (people, sessions).
        label: day of the PHQ-9, (people,).
        mean: prior mean of severity, (people,).
        blind: if given, the chance that a bare sentence stands in a frame, (people,): then the
            order is unknown, and turns that open or close a frame are skipped.
    """

    template: Ints
    tone: Ints
    session: Ints
    start: Array
    label: Array
    mean: Array
    blind: Array | None = None

    def rows(self, chosen: Ints) -> Observed:
        """The same for some of the people."""
        blind = None if self.blind is None else self.blind[chosen]
        last = int((self.template[chosen] >= 0).sum(axis=1).max(initial=1))
        return Observed(
            self.template[chosen, :last],
            self.tone[chosen, :last],
            self.session[chosen, :last],
            self.start[chosen],
            self.label[chosen],
            self.mean[chosen],
            blind,
        )


@dataclass(frozen=True)
class Regression:
    """Exact normal conditionals given severity (level plus path) at earlier sessions.

    Attributes:
        weights: (people, targets, sessions); a target uses the sessions before it.
        sd: residual SD, (people, targets).
    """

    weights: Array
    sd: Array


@dataclass
class Particles:
    """State of the particles of some people; leading shape (people, particles).

    Attributes:
        normal: level plus path minus the prior mean at each session so far, (..., sessions).
        jump_day: day of the sudden change, infinity if none yet.
        jump_size: its size.
        trait: index of the style trait.
        framed: whether a frame holds.
        items: posterior of each item's deviation, (..., 9, nodes).
        weight: importance weights, sum to 1 over particles.
        here: severity at the present session.
    """

    normal: Array
    jump_day: Array
    jump_size: Array
    trait: Ints
    framed: Bools
    items: Array
    weight: Array
    here: Array

    def resample(self, rng: np.random.Generator) -> None:
        """Systematic resampling of people whose effective sample is under half."""
        count = self.weight.shape[1]
        low = np.flatnonzero(1.0 / (self.weight**2).sum(axis=1) < count / 2)
        if not low.size:
            return
        parent = systematic(self.weight[low], count, rng)
        row = low[:, None]
        for name in ("normal", "jump_day", "jump_size", "trait", "framed", "items", "here"):
            table = getattr(self, name)
            table[low] = table[row, parent]
        self.weight[low] = 1.0 / count


def systematic(weight: Array, count: int, rng: np.random.Generator) -> Ints:
    """`count` indices per row, in proportion to its weights, from one uniform a row."""
    points = (np.arange(count) + rng.random((weight.shape[0], 1))) / count
    total = weight.cumsum(axis=1)
    total /= total[:, -1:]
    flat = (total + np.arange(weight.shape[0])[:, None]).ravel()
    positions = np.searchsorted(flat, (points + np.arange(weight.shape[0])[:, None]).ravel())
    index = positions.reshape(points.shape) - np.arange(weight.shape[0])[:, None] * weight.shape[1]
    return np.asarray(np.clip(index, 0, weight.shape[1] - 1))


def regressions(observed: Observed, config: SimulateConfig) -> tuple[Regression, Regression]:
    """Severity at each session given those before; 14-day means given those so far.

    The second has a target per session and one for the label (given all sessions).
    """
    people, sessions = observed.start.shape
    matrix = covariance(observed.start, observed.label[:, None], config)
    matrix[:, np.arange(sessions), np.arange(sessions)] += 1e-6
    ahead = np.zeros((people, sessions, sessions))
    ahead_sd = np.empty((people, sessions))
    mean = np.zeros((people, sessions + 1, sessions))
    mean_sd = np.empty((people, sessions + 1))
    last = observed.session.max(axis=1)
    for k in range(sessions):
        ahead_sd[:, k] = _condition(matrix, k, k, ahead[:, k])
        mean_sd[:, k] = _condition(matrix, sessions + k, k + 1, mean[:, k])
        final, sd = np.zeros((people, sessions)), np.empty(people)
        sd = _condition(matrix, 2 * sessions, k + 1, final)
        mean[last == k, -1], mean_sd[last == k, -1] = final[last == k], sd[last == k]
    return Regression(ahead, ahead_sd), Regression(mean, mean_sd)


def _condition(matrix: Array, target: int, count: int, weights: Array) -> Array:
    """Fill the weights of `target` on the first `count` sessions; return the residual SD."""
    variance = matrix[:, target, target]
    if count:
        cross = matrix[:, :count, target]
        solved = np.linalg.solve(matrix[:, :count, :count], cross[..., None])[..., 0]
        weights[:, :count] = solved
        variance = variance - (solved * cross).sum(axis=1)
    return np.sqrt(np.maximum(variance, 1e-12))


Watch = Callable[[int, Particles, Bools], None]


@dataclass
class Filter:
    """The filter of some people; make one, then `run` it once."""

    observed: Observed
    bank: Bank
    tables: Likelihood
    config: SimulateConfig
    rng: np.random.Generator
    count: int = 1000
    draws: int = DRAWS

    def __post_init__(self) -> None:
        self.ahead, self.means = regressions(self.observed, self.config)
        people, sessions = self.observed.start.shape
        shape = (people, self.count)
        trait = systematic(np.broadcast_to(NODE_WEIGHTS, (people, NODES)), self.count, self.rng)
        items = np.broadcast_to(NODE_WEIGHTS, (*shape, ITEM_COUNT, NODES)).copy()
        self.state = Particles(
            normal=np.zeros((*shape, sessions)),
            jump_day=np.full(shape, np.inf),
            jump_size=np.zeros(shape),
            trait=trait,
            framed=np.zeros(shape, dtype=bool),
            items=items,
            weight=np.full(shape, 1.0 / self.count),
            here=np.zeros(shape),
        )
        self.tones = tone_probabilities(NODE_VALUES)

    def run(self, watch: Watch | None = None) -> Particles:
        """Read every turn in order; `watch` is called after each with who spoke."""
        before = np.full(self.observed.mean.size, -1)
        for turn in range(self.observed.template.shape[1]):
            active = self.observed.template[:, turn] >= 0
            new = active & (self.observed.session[:, turn] != before)
            if new.any():
                self._advance(np.flatnonzero(new), self.observed.session[:, turn])
            before = np.where(active, self.observed.session[:, turn], before)
            self._weigh(np.flatnonzero(active), turn)
            self.state.resample(self.rng)
            if watch is not None:
                watch(turn, self.state, active)
        return self.state

    def _advance(self, who: Ints, session: Ints) -> None:
        """Draw severity at a new session, and the sudden change if it came since the last."""
        state, k = self.state, session[who]
        noise = self.rng.standard_normal((who.size, self.count))
        past = np.einsum("pns,ps->pn", state.normal[who], self.ahead.weights[who, k])
        drawn = past + self.ahead.sd[who, k, None] * noise
        state.normal[who, :, k] = drawn
        day = self.observed.start[who, k]
        since = np.where(k > 0, self.observed.start[who, np.maximum(k - 1, 0)], day)
        jump_day, jump_size = self.jumps(who, since, day)
        state.jump_day[who], state.jump_size[who] = jump_day, jump_size
        moved = np.where(jump_day <= day[:, None], jump_size, 0.0)
        state.here[who] = self.observed.mean[who, None] + drawn + moved
        state.framed[who] = False

    def jumps(self, who: Ints, since: Array, until: Array) -> tuple[Array, Array]:
        """Day and size of the sudden change as of `until`, new ones drawn after `since`."""
        state, rate = self.state, self.config.jump_rate
        shape = (who.size, self.count)
        wait = self.rng.exponential(1.0, shape) / max(rate, 1e-12) + since[:, None]
        is_new = np.isinf(state.jump_day[who]) & (wait <= until[:, None])
        size = self.config.jump_sd * self.rng.standard_normal(shape)
        day = np.where(is_new, wait, state.jump_day[who])
        return day, np.where(is_new, size, state.jump_size[who])

    def _weigh(self, who: Ints, turn: int) -> None:
        state, template = self.state, self.observed.template[who, turn]
        factor = self.tones[state.trait[who], self.observed.tone[who, turn][:, None]]
        form = self.bank.form[template]
        blind = self.observed.blind is not None
        frame_turn = (form == OPEN) | (form == CLOSE)
        if frame_turn.any():
            at = np.flatnonzero(frame_turn)
            factor[at] = 1.0
            if not blind:
                factor[at] *= self._frame_factor(who[at], form[at])
                state.framed[who[at]] = (form[at] == OPEN)[:, None]
        at = np.flatnonzero(~frame_turn)
        if at.size:
            factor[at] *= self._content_factor(who[at], template[at])
        weight = state.weight[who] * factor
        state.weight[who] = weight / weight.sum(axis=1, keepdims=True)

    def _frame_factor(self, who: Ints, form: Ints) -> Array:
        """P(the turn opens or closes a frame | particle).

        A turn that no particle can explain says nothing: it is what remains of a frame after
        the turn that opened or closed it was taken out.
        """
        framed = self.state.framed[who]
        opens = np.where(framed, 0.0, self.config.frame_rate)
        closes = np.where(framed, self.config.frame_end * self.config.frame_close, 0.0)
        factor = np.where((form == OPEN)[:, None], opens, closes)
        return np.where((factor * self.state.weight[who]).any(axis=1, keepdims=True), factor, 1.0)

    def _content_factor(self, who: Ints, template: Ints) -> Array:
        """P(template | particle), drawing whether the frame still holds on the way."""
        state, config, tables = self.state, self.config, self.tables
        item = tables.item[template]
        unframed, framed = np.ones((2, who.size, self.count))
        at = np.flatnonzero(item >= 0)
        if at.size:
            index = place(state.here[who[at]], int(tables.offsets[-1]))
            grid = index[..., None] + tables.offsets
            spoken = template[at][:, None, None]
            prior = state.items[who[at], :, item[at]]
            outside_frame = prior * tables.unframed[spoken, state.trait[who[at]][..., None], grid]
            in_frame = prior * tables.framed[spoken, grid]
            unframed[at], framed[at] = outside_frame.sum(axis=2), in_frame.sum(axis=2)
        if self.observed.blind is None:
            silent = config.frame_end * (1.0 - config.frame_close)
            stay: Array = np.where(state.framed[who], 1.0 - config.frame_end, 0.0)
            leave: Array = np.where(state.framed[who], silent, 1.0 - config.frame_rate)
        else:
            stay = np.broadcast_to(self.observed.blind[who, None], unframed.shape)
            leave = 1.0 - stay
        inside, outside = stay * framed, leave * unframed
        total = np.maximum(inside + outside, 1e-300)
        holds = self.rng.random(unframed.shape) * total < inside
        state.framed[who] = holds
        if at.size:
            updated = np.where(holds[at][..., None], in_frame, outside_frame)
            updated /= np.maximum(updated.sum(axis=2, keepdims=True), 1e-300)
            state.items[who[at], :, item[at]] = updated
        return np.asarray(total)

    def window_mean(self, who: Ints, session: Ints | None) -> Array:
        """Draw the mean severity of the 14 days before `session`, or before the label."""
        state = self.state
        target = (
            np.full(who.size, self.observed.start.shape[1]) if session is None else session[who]
        )
        noise = self.rng.standard_normal((who.size, self.count))
        mean = np.einsum("pns,ps->pn", state.normal[who], self.means.weights[who, target])
        drawn = self.observed.mean[who, None] + mean + self.means.sd[who, target, None] * noise
        if session is not None:
            day = self.observed.start[who, session[who]]
            jump_day, jump_size = state.jump_day[who], state.jump_size[who]
        else:
            day = self.observed.label[who]
            last = self.observed.start[who, self.observed.session[who].max(axis=1)]
            jump_day, jump_size = self.jumps(who, last, day)
        return np.asarray(drawn + jump_size * jump_share(day[:, None], jump_day))

    def totals(self, who: Ints, theta: Array, weight: Array) -> Array:
        """Distribution of the PHQ-9 total given severity per particle, (people, 28)."""
        chosen = systematic(weight, self.draws, self.rng)
        theta = np.take_along_axis(theta, chosen, axis=1)
        theta = theta + self.config.occasion_sd * self.rng.standard_normal(theta.shape)
        items = self.state.items[who[:, None], chosen]
        index = place(theta, int(self.tables.offsets[-1]))
        total = np.zeros((*theta.shape, TOTALS))
        total[..., 0] = 1.0
        for item in range(ITEM_COUNT):
            answer_chances = self.tables.answers[item][index[..., None] + self.tables.offsets]
            answer = (items[:, :, item, None, :] @ answer_chances)[..., 0, :]
            total = _add_answer(total, answer)
        return np.asarray(total.mean(axis=1))


def _add_answer(total: Array, answer: Array) -> Array:
    """Distribution of a sum and one more answer 0-3."""
    summed = total * answer[..., :1]
    for points in range(1, answer.shape[-1]):
        summed[..., points:] += total[..., :-points] * answer[..., points : points + 1]
    return summed
