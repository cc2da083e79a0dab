"""Tiny readers that are trained."""

import pytest
from tests.support.adapted import EXACT

from leadline.finetune.model import FinetunedModel


@pytest.fixture(scope="session", params=["llama", "qwen"])
def path(request, language_paths):
    return language_paths[request.param]


@pytest.fixture(scope="session")
def model(path):
    return FinetunedModel.untrained(str(path), EXACT)
