"""Threads sleep while they wait, and who said otherwise is heard."""

import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from leadline.threads import SMALL, one_thread


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


def blas_threads():
    import scipy.linalg  # noqa: F401  loads the library whose threads are counted

    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize(("rows", "expected"), [(SMALL, {1}), (SMALL + 1, {2})])
def test_small_matrices_are_computed_by_one_thread(rows, expected):
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        with one_thread(rows):
            assert blas_threads() == expected
        assert blas_threads() == before == {2}
