"""Tiny readers that are trained."""

import pytest
from tests.support.adapted import EXACT
from tests.support.readers import tiny_reader

from leadline.finetune.model import FinetunedModel


@pytest.fixture(scope="session", params=["llama", "qwen"])
def path(request, tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("reader"), request.param)


@pytest.fixture(scope="session")
def model(path):
    return FinetunedModel.untrained(str(path), EXACT)
