"""Readers that are fetched, for tests that go on without them."""

import pytest

from leadline.readers.fetch import leadline_home


def fetched(name):
    path = leadline_home() / "readers" / name
    if not (path / "manifest.json").is_file():
        pytest.skip(f"the reader {name} is not fetched: leadline reader fetch {name}")
    return path
