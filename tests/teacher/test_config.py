"""Settings of a teacher that cannot be meant, and which addresses are this machine."""

from __future__ import annotations

import pytest

from leadline.errors import LeadlineError
from leadline.teacher.config import LabelConfig, is_loopback


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"teacher": "anthropic"}, "--model"),
        ({"teacher": "gpt"}, "--teacher"),
        ({"who": "everyone"}, "--who"),
        ({"draws": 0}, "--draws"),
        ({"repeat": "failed,done"}, "--repeat"),
    ],
)
def test_bad_settings_name_their_flag(change, flag):
    with pytest.raises(LeadlineError, match=flag):
        LabelConfig(**change)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1/v1", True),
        ("http://LOCALHOST:1/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0:1", False),
        ("http://localhost@example.org", False),
        ("http://localhost.", False),
        ("http://127.0.0.1.nip.io", False),
    ],
)
def test_loopback_is_told_from_lookalikes(url, local):
    assert is_loopback(url) == local
