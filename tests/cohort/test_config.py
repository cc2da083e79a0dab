"""Settings of the window."""

import pytest

from leadline.cohort.config import WindowConfig
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
