"""Settings of `leadline score`."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import LeadlineError
from leadline.runs.config import BATCH_PEOPLE
from leadline.settings import check_choices, setting


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
    engine: str = setting(
        "local", "Where it runs: in this process, or in Ray workers.", choices=("local", "ray")
    )
    ray_address: str = setting(
        "", "Ray cluster to run on; without it workers are started on this machine."
    )
    workers: int = setting(0, "Ray workers (0: one a GPU, or as many as the cores allow).", least=0)
    worker_cpus: int = setting(1, "Cores of each Ray worker.", least=1)

    def __post_init__(self) -> None:
        check_choices(self)
        ray_options = {"--ray-address": self.ray_address, "--workers": self.workers}
        flags = [name for name, value in ray_options.items() if value]
        if self.engine != "ray" and flags:
            raise LeadlineError(
                f"{flags[0]} with --engine {self.engine}.",
                remedy=f"Add --engine ray, or leave {flags[0]} out.",
            )
