"""Ray: which workers there are, and what they are told."""

from __future__ import annotations

import pytest

from leadline.cluster import ClusterConfig, worker_environment, workers_and_gpus
from leadline.errors import LeadlineError


@pytest.mark.parametrize(
    ("resources", "workers", "parts", "cpus", "expected"),
    [
        ({"CPU": 2}, 0, 9, 1, (2, 0)),
        ({"CPU": 8}, 0, 9, 3, (2, 0)),
        ({"CPU": 8}, 3, 9, 1, (3, 0)),
        ({"CPU": 8}, 0, 2, 1, (2, 0)),
        ({"CPU": 1}, 0, 2, 4, (1, 0)),
        ({"CPU": 64, "GPU": 4}, 0, 99, 1, (4, 1)),
    ],
)
def test_workers_fill_the_machine(resources, workers, parts, cpus, expected):
    assert workers_and_gpus(resources, workers, parts, cpus) == expected


def test_a_worker_asks_no_hub_and_keeps_to_its_threads():
    env = worker_environment(3)
    assert env["HF_HUB_OFFLINE"] == "1"
    assert env["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("change", [{"workers": 2}, {"ray_address": "auto"}, {"engine": "slurm"}])
def test_settings_of_ray_without_it_are_refused(change):
    with pytest.raises(LeadlineError, match="engine"):
        ClusterConfig(**change)
    if "engine" not in change:
        assert ClusterConfig(engine="ray", **change).engine == "ray"
