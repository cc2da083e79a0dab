"""How threads that compute together wait for one another, told before torch and numpy are loaded.

By themselves they spin. On a machine whose cores others use too, one that has no core then keeps
the others spinning: SmolLM2 on two threads beside other work took 4 times the processor seconds,
and 6 to 12 times the wall time, of threads that sleep (dev/LOG.md). On an idle machine sleeping
costs some microseconds a product.
"""

from __future__ import annotations

import os

WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


def wait_asleep() -> None:
    """Have threads of OpenMP sleep while they wait, unless the environment says otherwise."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
