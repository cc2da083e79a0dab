"""Settings of a reader that cannot be meant."""

import pytest

from leadline.errors import LeadlineError
from leadline.readers.config import ReaderConfig


def test_settings_that_cannot_be_meant():
    with pytest.raises(LeadlineError, match="--max-tokens"):
        ReaderConfig(max_tokens=3)
    with pytest.raises(LeadlineError, match="--state"):
        ReaderConfig(state="median")
