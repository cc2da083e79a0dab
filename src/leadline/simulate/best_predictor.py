"""The limit of a simulated cohort: what the best possible predictor reaches on it.

The predictor knows the model and its settings, and of a person the template of every user
turn, the tone, the times, and age and gender (the prior mean). It has no words to misread, so
no model that reads the text can be expected to beat it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from leadline.arrays import Array, Bools, Ints
from leadline.artefact import TRUTH, bind, pending_name, read_manifest, replacing
from leadline.cohort.store import check_truth
from leadline.errors import LeadlineError
from leadline.output import changing
from leadline.phq9.distribution import Totals
from leadline.phq9.items import TOTALS
from leadline.simulate.config import SimulateConfig
from leadline.simulate.likelihood import Likelihood, tabulate
from leadline.simulate.particle_filter import DRAWS, Filter, Observed, Particles
from leadline.simulate.phrase_bank import BARE, CLOSE, OPEN
from leadline.simulate.truth import template_table
from leadline.simulate.world import World, draw_world, person_ids

Progress = Callable[[str], None]

_CHUNK = 48  # people filtered at a time; bounds the memory of their particles

VALUES: Array = np.arange(TOTALS, dtype=np.float64)

CUTS = (5, 10, 15, 20)


@dataclass(frozen=True)
class Limit:
    """What the Bayes predictor says of some people.

    Attributes:
        label: distribution of the total at the last label time, (people, 28).
        turns: distribution at each user turn, had the PHQ-9 been given then,
            (people, turns, 28); zeros beyond the last turn or where not asked for.
        rank: rank of the true 14-day severity among posterior draws, in 0-1, (people,).
    """

    label: Array
    turns: Array
    rank: Array


@dataclass(frozen=True)
class Effort:
    """How the filter is run.

    Attributes:
        particles: particles a person.
        draws: of those, how many the distribution of the total is averaged over.
        every_turn: also give the distribution at each user turn.
        completed: condition on the PHQ-9 having been completed (true of locked people).
        seed: of the filter's own randomness.
    """

    particles: int = 1000
    draws: int = DRAWS
    every_turn: bool = True
    completed: bool = True
    seed: int = 0


def observe(world: World, who: Ints) -> Observed:
    """What the filter may see of `who`: templates, tones and times, and the group mean."""
    return Observed(
        world.talk.template,
        world.talk.tone,
        world.talk.session,
        world.schedule.start,
        world.schedule.label[:, -1],
        world.people.mean,
    ).rows(who)


def without_order(world: World, who: Ints) -> Observed:
    """The same turns as an unordered bag: no times, no sessions, no frames that hold.

    How often a bare sentence of a person stands in a frame is predicted from how many turns
    of the bag open or close one, by least squares over everyone.
    """
    talk = world.talk
    counts = [(talk.form == form).sum(axis=1) for form in (OPEN, CLOSE, BARE)]
    framed = ((talk.form == BARE) & (talk.frame > 0)).sum(axis=1)
    features = np.stack([np.ones(framed.size), *counts, counts[0] * counts[2] / 20.0], axis=1)
    fit = np.linalg.lstsq(features, framed, rcond=None)[0]
    share = np.clip(features @ fit / np.maximum(counts[2], 1), 0.01, 0.95)
    observed = observe(world, who)
    session = np.where(observed.template >= 0, 0, -1)
    day = np.zeros((who.size, 1))
    return Observed(
        observed.template,
        observed.tone,
        session,
        day,
        day[:, 0] + 3.0,
        observed.mean,
        blind=share[who],
    )


def posterior(
    world: World,
    who: Ints,
    effort: Effort,
    *,
    observed: Observed | None = None,
    tables: Likelihood | None = None,
    progress: Progress | None = None,
) -> Limit:
    """Run the Bayes predictor for `who`.

    Args:
        world: the simulated world.
        who: indices of people.
        effort: how the filter is run.
        observed: what is seen of `who`, if not everything.
        tables: likelihood tables, to share between calls.
        progress: told how many people are done.
    """
    observed = observed or observe(world, who)
    tables = tables or tabulate(world.bank, world.config)
    turns = observed.template.shape[1]
    label, rank = np.empty((who.size, TOTALS)), np.empty(who.size)
    every = np.zeros((who.size, turns if effort.every_turn else 0, TOTALS))
    order = np.argsort((observed.template >= 0).sum(axis=1), kind="stable")
    for begin in range(0, who.size, _CHUNK):
        part = order[begin : begin + _CHUNK]
        rng = np.random.default_rng([world.config.seed, effort.seed, begin])
        run = Filter(
            observed.rows(part),
            world.bank,
            tables,
            world.config,
            rng,
            effort.particles,
            effort.draws,
        )
        state = run.run(_recorder(run, every, part) if effort.every_turn else None)
        everyone = np.arange(part.size)
        theta = run.window_mean(everyone, None)
        weight = state.weight
        if effort.completed:
            weight = _given_completion(world, who[part], theta, weight)
        label[part] = run.totals(everyone, theta, weight)
        truth = world.severity.label[who[part], -1]
        rank[part] = (weight * (theta < truth[:, None])).sum(axis=1)
        if progress is not None:
            progress(f"{begin + part.size} of {who.size} people")
    return Limit(label, every, rank)


def _recorder(run: Filter, every: Array, part: Ints) -> Callable[[int, Particles, Bools], None]:
    """A watcher that writes the running distribution of each person into `every`."""

    def watch(turn: int, state: Particles, active: Bools) -> None:
        spoke = np.flatnonzero(active)
        theta = run.window_mean(spoke, run.observed.session[:, turn])
        every[part[spoke], turn] = run.totals(spoke, theta, state.weight[spoke])

    return watch


def _given_completion(world: World, who: Ints, theta: Array, weight: Array) -> Array:
    constant, per_theta, per_session = world.completion
    odds = constant + per_theta * theta + per_session * world.schedule.sessions[who, None]
    weight = weight / (1.0 + np.exp(-odds))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def turn_contributions(
    world: World, who: Ints, effort: Effort, *, tables: Likelihood | None = None
) -> list[Array]:
    """Points by which each user turn moves the final posterior mean, by taking it out.

    A turn that opens a frame is taken out too: what follows is then read as current. One array
    of (user turns,) a person.
    """
    tables = tables or tabulate(world.bank, world.config)
    contributions = []
    for person in who:
        observed = observe(world, np.array([person]))
        turns = int((observed.template >= 0).sum())
        copies = np.full(turns + 1, person)
        kept_turns = np.array(
            [[k for k in range(turns) if k != left_out] for left_out in range(turns)]
        )
        all_turns = np.arange(turns)

        def cut(
            table: Ints,
            turns: int = turns,
            kept_turns: Ints = kept_turns,
            all_turns: Ints = all_turns,
        ) -> Ints:
            padded = np.full((turns + 1, turns), -1)
            padded[0], padded[1:, : turns - 1] = table[0, all_turns], table[0, kept_turns]
            return padded

        repeated = Observed(
            cut(observed.template),
            cut(observed.tone),
            cut(observed.session),
            observed.start.repeat(turns + 1, axis=0),
            observed.label.repeat(turns + 1),
            observed.mean.repeat(turns + 1),
        )
        means = posterior(world, copies, effort, observed=repeated, tables=tables).label @ VALUES
        contributions.append(means[0] - means[1:])
    return contributions


def summary(distribution: Array, total: Array) -> dict[str, float]:
    """How well distributions over 0-27, shape (people, 28), predict totals (people,)."""
    totals = Totals(distribution)
    mean, cumulative = totals.mean(), totals.cumulative()
    median = (cumulative < 0.5).sum(axis=1)
    low, high = ((cumulative < tail).sum(axis=1) for tail in (0.05, 0.95))
    result = {
        "r": float(np.corrcoef(mean, total)[0, 1]),
        "mae": float(np.abs(median - total).mean()),
        "rmse": float(np.sqrt(((mean - total) ** 2).mean())),
        "crps": float(totals.crps(total).mean()),
        "coverage_90": float(((low <= total) & (total <= high)).mean()),
    }
    for cut in CUTS:
        case = total >= cut
        if case.any() and not case.all():
            result[f"auc_{cut}"] = _auc(totals.at_least(cut), case)
    return result


def _auc(score: Array, case: npt.NDArray[np.bool_]) -> float:
    ranks = stats.rankdata(score)[case]
    cases = int(case.sum())
    return float((ranks.sum() - cases * (cases + 1) / 2) / (cases * (case.size - cases)))


def world_of(cohort_dir: Path) -> World:
    """Draw the world of a simulated cohort again, from the settings in its manifest.

    Raises:
        LeadlineError: not a simulated cohort, or drawn by another version of the simulator.
    """
    manifest = read_manifest(cohort_dir, "cohort")
    if not manifest.get("simulated") or manifest.get("command") != "simulate":
        raise LeadlineError(
            "The limit is known for simulated cohorts only.",
            remedy="Give a cohort that `leadline simulate` wrote.",
            file=cohort_dir,
        )
    world = draw_world(SimulateConfig(**manifest["settings"]))
    path = check_truth(cohort_dir, f"{TRUTH}/templates.parquet")
    stored = pl.read_parquet(path, columns=["template"])["template"]
    if not stored.equals(template_table(world)["template"]):
        raise LeadlineError(
            "This cohort was drawn by another version of the simulator.",
            remedy="Simulate it again with this version.",
            file=path,
        )
    return world


def bayes_limit(
    cohort_dir: Path,
    *,
    effort: Effort | None = None,
    contributions: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compute the limit on the locked test people and write it into the cohort.

    Writes `truth/limit.parquet` (a row per user turn: distribution, mean, sd, contribution),
    `truth/limit_labels.parquet` (a row per locked person: what is said of the PHQ-9 itself)
    and the entry `limit` of the manifest.

    Args:
        cohort_dir: a simulated cohort.
        effort: how the filter is run.
        contributions: locked people for whom each turn is also taken out (about 0.05 s
            each turn).
        progress: told how far it is.

    Returns:
        The manifest entry: r, mae, rmse, crps, coverage_90, auc_5 to auc_20 on the locked
        test; order_blind_r, the r of the same turns without order; people, particles.
    """
    effort = effort or Effort()
    world = world_of(cohort_dir)
    who = np.flatnonzero(world.locked)
    if not who.size:
        raise LeadlineError(
            "This cohort has no locked test people.",
            remedy="Simulate one with --locked above 0.",
            file=cohort_dir,
        )
    tables = tabulate(world.bank, world.config)
    limit = posterior(world, who, effort, tables=tables, progress=progress)
    total = world.answers[0, who, -1].sum(axis=1).astype(np.float64)
    last_turn_effort = Effort(effort.particles, effort.draws, every_turn=False, seed=effort.seed)
    blind = posterior(
        world, who, last_turn_effort, observed=without_order(world, who), tables=tables
    )
    fine_effort = Effort(4 * effort.particles, effort.particles, every_turn=False, seed=effort.seed)
    turn_points = turn_contributions(world, who[:contributions], fine_effort, tables=tables)
    entry: dict[str, Any] = {
        **summary(limit.label, total),
        "order_blind_r": summary(blind.label, total)["r"],
        "split": "locked",
        "people": int(who.size),
        "particles": effort.particles,
        "contributions": len(turn_points),
    }
    tables_by_name = {
        f"{TRUTH}/limit.parquet": _turn_rows(world, who, limit, turn_points),
        f"{TRUTH}/limit_labels.parquet": _label_rows(world, who, limit, total),
    }
    with changing(cohort_dir):
        manifest = read_manifest(cohort_dir, "cohort")
        for name, table in tables_by_name.items():
            with replacing(cohort_dir / pending_name(name)) as scratch:
                table.write_parquet(scratch, compression="zstd")
        bind(cohort_dir, {**manifest, "limit": entry}, tables_by_name)
    return entry


def _turn_rows(world: World, who: Ints, limit: Limit, turn_points: list[Array]) -> pl.DataFrame:
    ids = pl.Series("person_id", person_ids(world.config)).gather(who)
    rows = template_table(world).filter(pl.col("person_id").is_in(ids.implode()))
    has_turn = limit.turns.sum(axis=2) > 0
    distribution = limit.turns[has_turn]
    totals = Totals(distribution)
    mean, sd = totals.mean(), np.sqrt(totals.variance())
    points = [*np.concatenate(turn_points)] if turn_points else []
    return rows.select("person_id", "conversation_id", "turn", "user_turn", "time").with_columns(
        pl.Series("mean", mean),
        pl.Series("sd", sd),
        pl.Series("distribution", distribution.tolist(), dtype=pl.List(pl.Float64())),
        pl.Series("contribution", points + [None] * (mean.size - len(points)), dtype=pl.Float64()),
    )


def _label_rows(world: World, who: Ints, limit: Limit, total: Array) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "person_id": pl.Series(person_ids(world.config)).gather(who),
            "total": total,
            "mean": Totals(limit.label).mean(),
            "median": (limit.label.cumsum(axis=1) < 0.5).sum(axis=1).astype(np.float64),
            "distribution": pl.Series(limit.label.tolist(), dtype=pl.List(pl.Float64())),
            "rank": limit.rank,
        }
    )
