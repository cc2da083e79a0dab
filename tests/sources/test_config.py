"""Settings of an import that cannot be meant."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from leadline.errors import LeadlineError
from leadline.sources.config import ImportConfig


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"format": "excel"}, "--format"),
        ({"column": ("text",)}, "--column"),
        ({"column": ("words=text",)}, "--column"),
        ({"phq9_column": ("item_10=x",)}, "--phq9-column"),
        ({"role": ("bot",)}, "--role"),
        ({"role": ("bot=robot",)}, "--role"),
        ({"person_role": "bot", "role": ("bot=assistant",)}, "--person-role"),
        ({"people_column": ("locked",)}, "--people-column"),
        ({"timezone": "Mars/Base"}, "time zone"),
        ({"max_turn_chars": 0}, "--max-turn-chars"),
    ],
)
def test_bad_settings_name_the_flag(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(LeadlineError, match=match):
        ImportConfig(**settings)


def test_settings_import_no_polars() -> None:
    code = "import sys; from leadline.sources.config import ImportConfig; ImportConfig(); "
    code += "sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
