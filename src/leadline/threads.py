"""How threads that compute together wait for one another, told before torch and numpy are loaded.

By themselves they spin. On a machine whose cores others use too, one that has no core then keeps
the others spinning: SmolLM2 on two threads beside other work took 4 times the processor seconds,
and 6 to 12 times the wall time, of threads that sleep (dev/LOG.md). On an idle machine sleeping
costs some microseconds a product.

OpenBLAS, which numpy and scipy compute with, has threads of its own that spin whatever they are
told. On matrices of a few hundred rows they gain nothing and may cost 20 times the processor
seconds, so small fits are computed by one thread (`one_thread`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


def wait_asleep() -> None:
    """Have threads of OpenMP sleep while they wait, unless the environment says otherwise."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


SMALL = 1_000
"""Rows of a matrix up to which one thread factors it as fast as several."""


@contextmanager
def one_thread(rows: int) -> Iterator[None]:
    """Have numpy and scipy compute in one thread while the block runs, if there are few `rows`."""
    from threadpoolctl import threadpool_limits

    if rows > SMALL:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
