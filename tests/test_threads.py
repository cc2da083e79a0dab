"""Threads sleep while they wait, and who said otherwise is heard."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("said", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_the_environment_says_otherwise(said, expected):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    code = (
        "import sys, leadline, os; assert not {'torch', 'numpy'} & set(sys.modules); "
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | ({"OMP_WAIT_POLICY": said} if said else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
