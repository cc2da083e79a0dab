"""Tiny readers of each architecture."""

import pytest
from tests.support.readers import tiny_reader


@pytest.fixture(scope="session", params=["llama", "qwen"])
def path(request, tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("reader"), request.param)
