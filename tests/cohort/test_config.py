"""Settings of the window."""

from dataclasses import asdict

import pytest

from leadline.cohort.config import WindowConfig, window_of
from leadline.errors import LeadlineError


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"days": -1}, "--days"),
        ({"days": 1e9}, "--days"),
        ({"min_turns": 0}, "--min-turns"),
        (
            {"mask_questionnaire": True, "keep_questionnaire": True},
            "--mask-questionnaire and --keep-questionnaire",
        ),
    ],
)
def test_the_window_names_the_flag(given, flags):
    with pytest.raises(LeadlineError, match=flags):
        WindowConfig(**given)


@pytest.mark.parametrize(
    "kept",
    [None, [], "canary", {"canary": 1}, {"days": "canary"}, {"undated": 1}, {"min_turns": True}],
)
def test_a_kept_window_of_another_shape_is_refused_and_not_quoted(kept, tmp_path):
    with pytest.raises(LeadlineError, match="kept here is not as Leadline") as refused:
        window_of(kept, tmp_path / "manifest.json")
    assert "canary" not in str(refused.value)


def test_a_kept_window_is_what_it_was(tmp_path):
    window = WindowConfig(days=3, undated=True)
    assert window_of(asdict(window), tmp_path) == window
    assert window_of({"days": 3}, tmp_path) == WindowConfig(days=3)
