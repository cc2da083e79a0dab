"""Several processes that train one model: who writes, who does what, and what they agree on.

`torchrun` and `accelerate launch` start the same command once for each device and describe the
group in the environment (RANK, WORLD_SIZE, LOCAL_RANK). Every process then does the same steps
in the same order and computes its share of each; the first alone writes files and shows
progress. Where nothing was launched so, there is one process, which is the first, and everything
here is a formality.

Weights are either copied to every process (`DistributedDataParallel`, by accelerate) or divided
among them (`fully_shard`, FSDP2). The Trainer's own FSDP2 path is not used: accelerate enters it
on accelerators only, so that it could not be tested where there is none, and with every
checkpoint it writes the whole base. Here `fully_shard` is applied to the layers before the
Trainer sees the model, the same on CPU (gloo) and GPU (NCCL).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = timedelta(hours=6)
"""How long a process waits for the others, the slowest of which may be reading a cohort."""


def launched() -> int:
    """Processes that the launcher started: WORLD_SIZE, 1 where there is none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Number of this process on its machine, which is the number of its device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first() -> bool:
    """True in the one process that writes files and shows progress."""
    return launched() == 1 or int(os.environ.get("RANK", "0")) == 0


def world() -> int:
    """Processes of the group that was joined, 1 before `join`."""
    return int(_group().get_world_size()) if _joined() else 1


def rank() -> int:
    """Number of this process in the group, 0 before `join`."""
    return int(_group().get_rank()) if _joined() else 0


def _joined() -> bool:
    if "torch" not in sys.modules:  # a process that never computed has joined nothing
        return False
    group = _group()
    return bool(group.is_available() and group.is_initialized())


def _group() -> Any:
    import torch.distributed

    return torch.distributed


def join() -> None:
    """Join the group that the launcher described; nothing where there is one process."""
    if launched() == 1 or _joined():
        return
    import torch

    backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    _group().init_process_group(backend, timeout=PATIENCE)


def leave() -> None:
    """Leave the group: what follows is done by one process, the others need not wait for it."""
    if _joined():
        _group().destroy_process_group()


def barrier() -> None:
    """Go on when every process has come here."""
    if world() > 1:
        _group().barrier()


def broadcast(value: T) -> T:
    """What the first process says; every process must ask."""
    if world() == 1:
        return value
    objects: list[Any] = [value]
    _group().broadcast_object_list(objects, src=0)
    return objects[0]  # type: ignore[no-any-return]


def assigned_jobs(count: int) -> list[tuple[int, bool]]:
    """The share of this process in jobs ``0..count-1``; all shares are equally long.

    Returns:
        Job and whether its result counts: False for a job of another process that is done only
        to keep step, because a divided model computes when all processes do.
    """
    size, process = world(), rank()
    rounds = -(-count // size)
    numbers = [round_number * size + process for round_number in range(rounds)]
    return [(min(number, count - 1), number < count) for number in numbers]


def gather(results: Mapping[int, T], count: int) -> list[T]:
    """Results of jobs ``0..count-1`` of all processes, in order, in every process."""
    if world() == 1:
        return [results[number] for number in range(count)]
    parts: list[Any] = [None] * world()
    _group().all_gather_object(parts, dict(results))
    all_results: dict[int, T] = {number: value for part in parts for number, value in part.items()}
    return [all_results[number] for number in range(count)]


def shard(backbone: Any, device: Any, *, mixed: bool) -> None:
    """Divide the weights of `backbone`, layer by layer, among the processes (FSDP2), in place.

    Each layer is gathered when it computes and let go afterwards. What is trained keeps its
    arithmetic; gradients are averaged over the processes.

    Args:
        backbone: layers, embeddings and final norm; on the CPU or on `device`.
        device: where it computes.
        mixed: compute in bfloat16 on float32 weights, and add gradients in float32.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if mixed
        else MixedPrecisionPolicy()
    )
    mesh = init_device_mesh(device.type, (world(),))
    for part in (backbone.embed_tokens, *backbone.layers, backbone):
        fully_shard(part, mesh=mesh, mp_policy=policy)


def full_tensor(tensor: Any) -> Any:
    """A divided tensor put together (every process must ask); any other as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local_part(tensor: Any) -> Any:
    """The part of this process in a divided tensor; any other as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def copy_into(parameter: Any, value: Any) -> None:
    """Copy a whole tensor into a parameter that may be divided (every process must)."""
    import torch

    with torch.no_grad():
        if hasattr(parameter, "device_mesh"):
            from torch.distributed.tensor import distribute_tensor

            value = value.to(parameter.to_local().device, parameter.dtype)
            value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
        parameter.copy_(value)
