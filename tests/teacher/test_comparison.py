"""Two teachers on the same readings: differences are paired, and locked people stay unseen."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib.resources import files

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from tests.support.teacher_cohort import PRICES, START, config, make_cohort, texts
from tests.support.teacher_server import THOUGHT_TOKENS

from leadline.cli.app import app
from leadline.cohort.config import WindowConfig
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.tables import LABELS
from leadline.teacher.audit import figure, pair_with_gold, resampled
from leadline.teacher.comparison import compare, compare_labels
from leadline.teacher.label import label_cohort

PEOPLE = 240


def audited(*arguments):
    words = ["audit", *map(str, arguments)]
    return CliRunner().invoke(app, words, catch_exceptions=False, env={"COLUMNS": "200"}).stdout


@pytest.fixture(scope="module")
def raters(tmp_path_factory):
    """A cohort, and labels(error, draws, bias) of a teacher whose errors share what is hard."""
    path = tmp_path_factory.mktemp("raters") / "c"
    cohort = read_cohort(make_cohort(path, texts(PEOPLE), locked=20))
    random = np.random.default_rng(0)
    shared = dict(zip(cohort.phq9["person_id"], random.normal(0, 4, PEOPLE // 2), strict=True))

    def labels(error, draws=3, bias=0.0):
        rows = []
        for person, total in cohort.phq9.select("person_id", "total").iter_rows():
            at = START + timedelta(days=int(person.split("-")[1]), hours=1)
            own = random.normal(0, error)
            for draw in range(draws):
                level = total + shared[person] + own + bias + random.normal(0, 0.5)
                head = (person, at, 0, 0, "teacher", 0, "m", draw)
                rows.append((*head, *[None] * 9, level, 1.0, [], 0.5, 0, 0, 9))
        return pl.DataFrame(rows, schema=LABELS, orient="row")

    return cohort, labels


def test_the_better_teacher_is_told_by_the_pair_where_two_intervals_could_not(raters):
    cohort, labels = raters
    a, b = labels(0.5), labels(2.0)
    result = compare((a, b), cohort, WindowConfig(), seed=1)
    assert result["people"] == PEOPLE // 2 - 10, "the locked people are not looked at"
    mae = result["figures"]["mae"]
    assert mae["difference"]["value"] == pytest.approx(
        mae["labels"]["value"] - mae["against"]["value"]
    )
    low, high = mae["difference"]["interval"]
    assert low < high < 0
    widths = [np.diff(mae[side]["interval"])[0] for side in ("labels", "against")]
    assert high - low < 0.6 * np.hypot(*widths), "both make the same errors, so they cancel"
    turned = compare((b, a), cohort, WindowConfig(), seed=1)["figures"]["mae"]["difference"]
    assert turned["value"] == pytest.approx(-mae["difference"]["value"])
    assert turned["interval"] == pytest.approx([-high, -low])
    assert result["figures"]["kappa"]["difference"]["value"] is None
    assert 0.9 < result["agreement"]["r"] < 1


def test_a_difference_that_is_none_is_called_one_in_twenty_times(raters):
    cohort, labels = raters
    hits = 0
    for seed in range(40):
        result = compare((labels(1.0), labels(1.0)), cohort, WindowConfig(), seed=seed)
        low, high = result["figures"]["mae"]["difference"]["interval"]
        hits += low <= 0 <= high
    assert hits >= 33  # 38 expected


def test_bias_and_slope_are_compared(raters):
    cohort, labels = raters
    figures = compare((labels(1.0, bias=2.5), labels(1.0)), cohort, WindowConfig())["figures"]
    low, high = figures["bias"]["difference"]["interval"]
    assert low < 2.5 < high
    low, high = figures["slope"]["difference"]["interval"]
    assert low < 0 < high


def test_as_many_draws_of_each_and_what_one_alone_rated_is_counted(raters):
    cohort, labels = raters
    a, b = labels(1.0, draws=3), labels(1.0, draws=1)
    grave = cohort.phq9.filter(pl.col("total") >= 20)["person_id"].to_list()
    declined = b.filter(~pl.col("person_id").is_in(grave))
    result = compare((a, declined), cohort, WindowConfig())
    assert result["draws"] == 1.0
    assert result["labels"]["alone"]["phq9"] >= 20
    assert result["labels"]["alone"]["readings"] > 10
    assert result["against"]["alone"] == {"readings": 0, "phq9": None}
    first = pair_with_gold(a.filter(pl.col("draw") == 0), cohort, WindowConfig())
    first = first.filter(~pl.col("person_id").is_in(grave))
    assert result["figures"]["mae"]["labels"] == figure(resampled(first, 0)["mae"])


def test_within_groups_and_nobody_in_common(raters):
    cohort, labels = raters
    site = pl.when(pl.col("person_id") < "user-0100").then(pl.lit("a")).otherwise(pl.lit("b"))
    people = cohort.people.with_columns(site=site)
    grouped = type(cohort)(cohort.turns, cohort.phq9, people, manifest={})
    a, b = labels(0.5), labels(6.0)
    groups = compare((a, b), grouped, WindowConfig(), groups=["site"])["groups"]["site"]
    assert {name: row["n"] for name, row in groups.items()} == {"a": 50, "b": 60}
    assert groups["a"]["mae"]["difference"]["interval"][1] < 0
    half = a.filter(pl.col("person_id") < "user-0100"), b.filter(pl.col("person_id") > "user-0100")
    with pytest.raises(LeadlineError, match="rated by both"):
        compare(half, cohort, WindowConfig())


def test_with_reasoning_against_without(tmp_path, server):
    """From the command line: what thinking changes, and what it costs a person."""
    cohort = make_cohort(tmp_path / "c", texts(40), locked=6)
    for name, word in (("thinks", "high"), ("off", "off")):
        settings = config(server, "anthropic", reasoning=word, **PRICES)
        label_cohort(cohort, tmp_path / name, settings)
    verb = (cohort, "--labels", tmp_path / "thinks", "--against", tmp_path / "off")
    result = json.loads(audited(*verb, "--json"))
    assert (result["people"], result["draws"]) == (17, 2)
    assert (result["labels"]["reasoning"], result["against"]["reasoning"]) == (["high"], ["off"])
    figures = result["figures"]
    tokens = figures["reasoning_tokens"]
    assert tokens["labels"]["value"] == 2 * THOUGHT_TOKENS
    assert tokens["against"]["value"] == 0
    assert figures["usd"]["difference"]["value"] == pytest.approx(2 * THOUGHT_TOKENS * 25e-6)
    assert figures["mae"]["difference"]["value"] == 0, "this server rates by the text alone"
    assert figures["kappa"]["labels"]["value"] is None, "these PHQ-9s have no items"
    page = audited(*verb)
    assert "reasoning high" in " ".join(page.split())
    assert "usd a person" in page


def test_two_rubrics_are_told_apart_and_the_same_labels_are_refused(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(30), locked=0)
    other = tmp_path / "rubric.toml"
    shipped = files("leadline.teacher").joinpath("rubric.toml").read_text()
    other.write_text(shipped.replace('version = "1"', 'version = "2"'))
    label_cohort(cohort, tmp_path / "one", config(server, "openai", draws=1))
    label_cohort(cohort, tmp_path / "two", config(server, "openai", draws=1, rubric=other))
    verb = (cohort, "--labels", tmp_path / "two")
    result = json.loads(audited(*verb, "--against", tmp_path / "one", "--json"))
    assert result["labels"]["rubric"][0].startswith("2-")
    assert result["against"]["rubric"][0].startswith("1-")
    with pytest.raises(LeadlineError, match="same labels twice"):
        audited(*verb, "--against", tmp_path / "two")
    with pytest.raises(LeadlineError, match="for a comparison"):
        audited(*verb, "--model", "m-1")


def test_models_are_named_where_they_are_not_plain(tmp_path, server):
    cohort = make_cohort(tmp_path / "c", texts(30), locked=0)
    both = tmp_path / "both"
    for model in ("m-1", "m-2"):
        label_cohort(cohort, both, config(server, "openai", draws=1, model=model))
    result = compare_labels(cohort, (both, both), models=("m-1", "m-2"))
    assert (result["labels"]["model"], result["against"]["model"]) == ("m-1", "m-2")
    with pytest.raises(LeadlineError, match="Which model") as error:
        compare_labels(cohort, (both, both))
    assert "m-1, m-2" in error.value.remedy
    with pytest.raises(LeadlineError, match="--against-model m-3 is not"):
        compare_labels(cohort, (both, both), models=("m-1", "m-3"))
    label_cohort(cohort, tmp_path / "w", config(server, "openai"), window=WindowConfig(days=3))
    with pytest.raises(LeadlineError, match="different windows"):
        compare_labels(cohort, (both, tmp_path / "w"), models=("m-1", None))
