"""A teacher's server on this machine."""

from __future__ import annotations

import pytest
from tests.support.teacher_server import TeacherServer


@pytest.fixture
def server():
    with TeacherServer() as running:
        yield running
