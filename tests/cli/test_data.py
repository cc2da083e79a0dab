"""Verbs about data."""

import json


def test_a_flag_of_simulate_wins_over_the_preset(leadline, tmp_path):
    code, text, err = leadline(
        "simulate", "--out", tmp_path / "c", "--preset", "small", "--people", "190", "--json"
    )
    assert code == 0, err
    assert json.loads(text)["people"] == 190
    settings = json.loads((tmp_path / "c" / "manifest.json").read_text())["settings"]
    assert settings["gold"] == 120
    assert settings["people"] == 190
