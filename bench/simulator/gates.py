"""The gates that keep the simulator from being a toy, measured at preset `paper`.

    python -m bench run simulator.gates --seed 0 [--reader DIRECTORY_OF_MINILM]

With --reader, a sentence encoder (Hugging Face layout) reads each template once, and the mean
over a person's turns goes into a ridge regression: a model that knows what words mean.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import cross_val_predict

from bench.protocol import run_module
from leadline.simulate.best_predictor import Effort, posterior, summary, without_order
from leadline.simulate.cohort import simulate_cohort, turn_table
from leadline.simulate.config import preset
from leadline.simulate.phrase_bank import extras
from leadline.simulate.ratings import read_words, teacher_table
from leadline.simulate.world import World, draw_world

Array = npt.NDArray[Any]
TAKES = "minutes a seed"


def options(parser: argparse.ArgumentParser) -> None:
    """The seed, and a reader that knows what words mean."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=Path)
    parser.add_argument("--particles", type=int, default=1000)


def result(args: argparse.Namespace) -> str:
    """The name of its file."""
    return f"simulator_gates_seed{args.seed}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every gate for one seed."""
    figures: dict[str, Any] = {"seed": args.seed, **generation(args.seed)}
    world = draw_world(preset("paper", seed=args.seed))
    figures["population"] = population(world)
    figures["bayes"] = bayes(world, args.particles)
    figures["teacher"] = teacher(args.seed)
    turns = turn_table(draw_world(world.config))
    figures["text"] = text_gates(world, turns)
    shared = draw_world(preset("paper", seed=args.seed, held_out=0.0))
    figures["tfidf_locked_seen_templates"] = tfidf(shared, documents(turn_table(shared), "user"))
    if args.reader:
        vectors = encode(world, args.reader)
        figures["minilm_unseen_templates"] = embedded(world, vectors)
        figures["minilm_seen_templates"] = embedded(shared, vectors)
    return figures


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Every gate, what it has to reach, and what it has reached."""
    people, limit, text = results["population"], results["bayes"], results["text"]
    middle = results["teacher"][1]
    table: list[tuple[str, str, Any]] = [
        ("PHQ-9 mean", "10-12", people["mean"]),
        ("PHQ-9 SD", "6.3-7.6", people["sd"]),
        ("retest r", ".84-.92", people["retest_r"]),
        ("Bayes predictor r", ".86-.90", limit["r"]),
        ("its MAE", "shown", limit["mae"]),
        ("its 90% coverage", "shown", limit["coverage_90"]),
        ("order-blind r", ".03 below", limit["order_blind_r"]),
        ("TF-IDF + ridge r", "<= .62", text["tfidf"]["locked_r"]),
        ("best n-gram, abs r", "<= .25", abs(text["best_ngrams"]["count"][0][1])),
        ("assistant only r", "<= .15", text["assistant_only"]["locked_r"]),
        ("metadata only r", "<= .15", text["metadata_only_out_of_fold_r"]),
        ("TF-IDF, seen templates", "shown", results["tfidf_locked_seen_templates"]["locked_r"]),
        ("MiniLM, unseen / seen", "shown", _minilm(results)),
        (
            "teacher r at .60 / .68 / .76",
            "as set",
            " / ".join(str(row["r"]) for row in results["teacher"]),
        ),
        ("r of what it reads", "above", results["teacher"][0]["reading_r"]),
        ("teacher slope, bias at .68", "about .6, 2-3", f"{middle['slope']}, {middle['bias']}"),
        ("generation, s", "<= 90", results["generation_seconds"]),
        ("same bytes", "yes", results["same_bytes"]),
        ("Bayes, every turn, s", "<= 600", limit["seconds_every_turn"]),
    ]
    return [(f"{what} | {reach}", str(figure)) for what, reach, figure in table]


def side_by_side(runs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The rows of several seeds in one table."""
    columns = [rows(run) for run in runs]
    return [
        (cells[0][0], " | ".join(figure for _, figure in cells))
        for cells in zip(*columns, strict=True)
    ]  # fmt: skip


def _minilm(results: dict[str, Any]) -> str:
    if "minilm_unseen_templates" not in results:
        return "-"
    unseen, shared = results["minilm_unseen_templates"], results["minilm_seen_templates"]
    return f"{unseen['locked_r']} / {shared['locked_r']}"


def generation(seed: int) -> dict[str, Any]:
    """Seconds to write the cohort, and whether a second run gives the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        simulate_cohort(Path(folder) / "one", preset("paper", seed=seed))
        seconds = time.perf_counter() - begun
        cohort = simulate_cohort(Path(folder) / "two", preset("paper", seed=seed))
        digests = [_digests(Path(folder) / name) for name in ("one", "two")]
        user = cohort.turns.filter(pl.col("role") == "user")
        return {
            "generation_seconds": round(seconds, 1),
            "same_bytes": digests[0] == digests[1],
            "user_turns_mean": round(user.height / cohort.people.height, 1),
            "distinct_user_texts": user["text"].n_unique(),
        }


def _digests(folder: Path) -> list[str]:
    return [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.parquet"))
    ]


def correlation(a: Array, b: Array) -> float:
    """Pearson r, rounded."""
    return round(float(np.corrcoef(a, b)[0, 1]), 3)


def totals(world: World) -> Array:
    """PHQ-9 total of everyone at the last label time."""
    return world.answers[0, :, -1].sum(axis=1).astype(float)


def population(world: World) -> dict[str, Any]:
    """Distribution and reliability of the PHQ-9 of everyone."""
    answers = world.answers[:, :, -1].astype(float)
    total = answers.sum(axis=2)
    items = np.corrcoef(answers[0].T)
    return {
        "mean": round(float(total[0].mean()), 2),
        "sd": round(float(total[0].std()), 2),
        "retest_r": correlation(total[0], total[1]),
        "item_means": answers[0].mean(axis=0).round(2).tolist(),
        "item_correlation_mean": round(float(items[np.triu_indices(9, 1)].mean()), 3),
        "item_correlation_range": [
            round(float(items[np.triu_indices(9, 1)].min()), 3),
            round(float(items[np.triu_indices(9, 1)].max()), 3),
        ],
        "locked_mean_sd": [
            round(float(total[0][world.locked].mean()), 2),
            round(float(total[0][world.locked].std()), 2),
        ],
        "bands_percent": (100 * np.histogram(total[0], [0, 5, 10, 15, 20, 28])[0] / total[0].size)
        .round(1)
        .tolist(),
    }


def bayes(world: World, particles: int) -> dict[str, Any]:
    """The limit on the locked test, with and without order, and its calibration."""
    who = np.flatnonzero(world.locked)
    begun = time.perf_counter()
    limit = posterior(world, who, Effort(particles))
    seconds = time.perf_counter() - begun
    total = totals(world)[who]
    last_turn = Effort(particles, every_turn=False)
    blind = posterior(world, who, last_turn, observed=without_order(world, who))
    numbers = {key: round(value, 3) for key, value in summary(limit.label, total).items()}
    return {
        **numbers,
        "seconds_every_turn": round(seconds, 1),
        "order_blind_r": round(summary(blind.label, total)["r"], 3),
        "rank_deciles": np.histogram(limit.rank, 10, (0, 1))[0].tolist(),
    }


def teacher(seed: int) -> list[dict[str, float]]:
    """What teacher draws are worth at three settings of their reliability, and what is read."""
    rows = []
    for setting in (0.60, 0.68, 0.76):
        world = draw_world(preset("paper", seed=seed, teacher_r=setting))
        draws = teacher_table(world)
        has = world.schedule.has_label
        truth = np.tile(world.answers[0][has].sum(axis=1), world.config.teacher_draws).astype(float)
        rated = draws["total"].to_numpy()
        error = (rated - truth).reshape(world.config.teacher_draws, -1)
        rows.append(
            {
                "setting": setting,
                "r": correlation(rated, truth),
                "slope": round(float(np.cov(rated, truth)[0, 1] / truth.var()), 3),
                "bias": round(float((rated - truth).mean()), 2),
                "error_correlation_of_draws": correlation(error[0], error[1]),
                "reading_r": correlation(
                    read_words(world, np.random.default_rng(seed)).total[has],
                    world.answers[0][has].sum(axis=1),
                ),
            }
        )
    return rows


def documents(turns: pl.DataFrame, role: str) -> list[str]:
    """All that each person, or the assistant to each person, said."""
    of_role = turns.filter(pl.col("role") == role)
    joined = of_role.group_by("person_id", maintain_order=True).agg(pl.col("text").str.join("\n"))
    return joined["text"].to_list()


def tfidf(world: World, texts: list[str]) -> dict[str, float]:
    """TF-IDF 1-2-grams and ridge, trained on the gold people."""
    total = totals(world)
    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=5, sublinear_tf=True)
    gold = vectors.fit_transform([t for t, use in zip(texts, world.gold, strict=True) if use])
    test = vectors.transform([t for t, use in zip(texts, world.locked, strict=True) if use])
    score = {}
    for alpha in (1.0, 4.0):
        score[alpha] = cross_val_predict(Ridge(alpha=alpha), gold, total[world.gold], cv=5)
    best = max(score, key=lambda alpha: correlation(score[alpha], total[world.gold]))
    model = Ridge(alpha=best).fit(gold, total[world.gold])
    return {
        "locked_r": correlation(model.predict(test), total[world.locked]),
        "out_of_fold_r": correlation(score[best], total[world.gold]),
    }


def text_gates(world: World, turns: pl.DataFrame) -> dict[str, Any]:
    """What words, single phrases, the assistant, and lengths and times say by themselves."""
    user = documents(turns, "user")
    counts = CountVectorizer(ngram_range=(1, 3), min_df=60)
    gold = [t for t, use in zip(user, world.gold, strict=True) if use]
    table = counts.fit_transform(gold).astype(float)
    total = totals(world)[world.gold]
    phrases = {}
    for name, form in (("count", table), ("presence", (table > 0).astype(float))):
        r = _column_r(form, total)
        top = np.argsort(-np.abs(r))[:5]
        names = counts.get_feature_names_out()
        phrases[name] = [[str(names[k]), round(float(r[k]), 3)] for k in top]
    return {
        "tfidf": tfidf(world, user),
        "best_ngrams": phrases,
        "assistant_only": tfidf(world, documents(turns, "assistant")),
        "metadata_only_out_of_fold_r": metadata(world, turns),
    }


def _column_r(table: Any, total: Array) -> Array:
    mean = np.asarray(table.mean(axis=0)).ravel()
    sd = np.sqrt(
        np.maximum(np.asarray(table.multiply(table).mean(axis=0)).ravel() - mean**2, 1e-12)
    )
    return np.asarray(table.T @ (total - total.mean())).ravel() / (total.size * sd * total.std())


def metadata(world: World, turns: pl.DataFrame) -> float:
    """Lengths, counts, times, age and gender, with squares, into a ridge; out of fold."""
    numbers = (
        turns.filter(pl.col("role") == "user")
        .with_columns(chars=pl.col("text").str.len_chars(), day=pl.col("time").dt.weekday())
        .group_by("person_id", maintain_order=True)
        .agg(
            pl.len(),
            pl.col("chars").sum().alias("all"),
            pl.col("chars").mean().alias("mean"),
            pl.col("chars").std().alias("sd"),
            pl.col("conversation_id").n_unique().alias("sessions"),
            ((pl.col("time").max() - pl.col("time").min()).dt.total_seconds()).alias("span"),
            pl.col("time").dt.hour().mean().alias("hour"),
            pl.col("day").mean(),
        )
        .drop("person_id")
        .fill_null(0)
        .to_numpy()
        .astype(float)
    )
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    groups = [np.eye(4)[world.people.age], np.eye(3)[world.people.gender]]
    features = np.concatenate([numbers, numbers**2, *groups], axis=1)[world.gold]
    total = totals(world)[world.gold]
    model = RidgeCV(np.logspace(0, 4, 9))
    return correlation(cross_val_predict(model, features, total, cv=5), total)


def encode(world: World, reader: Path) -> Array:
    """One vector a template, by a sentence encoder with mean pooling."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    fill = {name: values[0] for name, values in extras()["slots"].items()}
    texts = [text.format(**fill) for text in world.bank.text]
    tokens, model = AutoTokenizer.from_pretrained(reader), AutoModel.from_pretrained(reader).eval()
    vectors = []
    with torch.no_grad():
        for begin in range(0, len(texts), 32):
            batch = tokens(texts[begin : begin + 32], padding=True, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            mean = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
            vectors.append(torch.nn.functional.normalize(mean, dim=1).numpy())
    return np.concatenate(vectors)


def embedded(world: World, vectors: Array) -> dict[str, float]:
    """Mean vector of each person's turns and ridge, trained on the gold people."""
    template = world.talk.template
    features = np.stack([vectors[row[row >= 0]].mean(axis=0) for row in template])
    total = totals(world)
    model = RidgeCV(np.logspace(-3, 1, 9))
    fitted = model.fit(features[world.gold], total[world.gold])
    inside = cross_val_predict(model, features[world.gold], total[world.gold], cv=5)
    return {
        "locked_r": correlation(fitted.predict(features[world.locked]), total[world.locked]),
        "out_of_fold_r": correlation(inside, total[world.gold]),
    }


if __name__ == "__main__":
    run_module()
