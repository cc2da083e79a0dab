"""Settings of a trained reader that cannot be meant."""

import pytest

from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig


def test_settings_that_cannot_be_meant():
    for wrong, flag in [({"top": 0}, "--top"), ({"rank": 0}, "--rank"), ({"head": "x"}, "--head")]:
        with pytest.raises(LeadlineError, match=flag):
            FinetuneConfig(**wrong)
