"""Tiny readers of each architecture."""

import pytest


@pytest.fixture(scope="session", params=["llama", "qwen"])
def path(request, language_paths):
    return language_paths[request.param]
