"""Verbs of the first day, as they are typed."""

import json

import polars as pl


def test_a_run_without_a_label_is_made_scored_and_asked_for_labels(
    leadline, simulated_path, sentence_reader, tmp_path
):
    run, out = tmp_path / "run", tmp_path / "out.parquet"
    code, text, err = leadline("prior", "--on", simulated_path, "--reader", sentence_reader,
                               "--out", run, "--json")  # fmt: skip
    assert code == 0, err
    assert json.loads(text)["no_label_seen"] is True
    code, text, err = leadline("score", simulated_path, "--run", run, "--out", out, "--json")
    assert code == 0, err
    assert json.loads(text)["no_label_seen"] is True
    estimates = pl.read_parquet(out)
    assert estimates["mean"].is_between(0, 27).all()
    asks = tmp_path / "asks.csv"
    code, _, err = leadline("ask", simulated_path, "--run", run, "--count", "3", "--out", asks)
    assert code == 0, err
    assert pl.read_csv(asks).height == 3
    code, text, err = leadline("monitor", "init", "--store", tmp_path / "s.sqlite", "--run", run)
    assert code == 0, err
    assert "has seen no label" in text


def test_a_population_that_is_none_is_refused(leadline, sentence_reader, tmp_path):
    code, out, err = leadline("prior", "--reader", sentence_reader, "--population", "martians",
                              "--out", tmp_path / "run")  # fmt: skip
    assert (code, out) == (2, "")
    assert "help-seekers" in err
    assert not (tmp_path / "run").exists()
