"""Settings of `leadline score`."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.cluster import ClusterConfig, check_engine
from leadline.runs.config import BATCH_PEOPLE
from leadline.settings import check_choices, same, setting


@dataclass(frozen=True)
class ScoreConfig:
    """How a trained run is applied."""

    batch_people: int = setting(
        BATCH_PEOPLE, "People read at a time; their text is never all in memory.", least=1
    )
    part_people: int = setting(
        256, "People of a part; a run that was killed goes on from its finished parts.", least=1
    )
    cache: bool = setting(
        True, "Keep turn states of frozen readers on disk, so that they are read once."
    )
    dtype: str = setting(
        "run",
        "Arithmetic of a language model: the run's own, or another if that moves no estimate of "
        "the anchor statements by more than .25 points; float32 is faster on a processor that "
        "does not multiply bfloat16.",
        choices=("run", "float32", "bfloat16"),
    )
    engine: str = same(ClusterConfig, "engine")
    ray_address: str = same(ClusterConfig, "ray_address")
    workers: int = same(ClusterConfig, "workers")
    worker_cpus: int = setting(1, "Cores of each Ray worker.", least=1)

    def __post_init__(self) -> None:
        check_choices(self)
        check_engine(self.engine, self.ray_address, self.workers)
