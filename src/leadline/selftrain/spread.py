"""Fits of adapted students in Ray workers, several at a time: one a GPU, or one a core.

A fit depends on the labels that it is given and on nothing that another fit leaves in memory, and
what it ends with is a file of the run (`NodeStore`). So a worker opens the same students from the
disk, makes the nodes that it is told to make, and the process that decides on the rounds reads
them as if it had made them. Text and weights never pass between processes. A fit whose worker dies
goes on in another from its own last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from leadline import processes
from leadline.cluster import RAY, import_ray, ray_session, worker_environment, workers_and_gpus
from leadline.cohort.store import read_cohort
from leadline.errors import LeadlineError
from leadline.selftrain.adapted import AdaptedStudents
from leadline.selftrain.programme import Configs, open_students
from leadline.selftrain.roster import load_labels

TRIES = 3
"""Times that a fit is begun if its worker dies each time."""


@dataclass(frozen=True)
class FitInputs:
    """Where a worker finds what it needs.

    Attributes:
        cohort: the directory of the cohort; None where it was never written.
        labels_dir: the teachers' labels, if any.
        run: the run directory in the making.
        configs: the settings.
        home: where readers are kept.
    """

    cohort: Path | None
    labels_dir: Path | None
    run: Path
    configs: Configs
    home: Path | None

    def absolute(self) -> FitInputs:
        """The same, whatever folder a process runs in."""
        paths = {name: getattr(self, name) for name in ("cohort", "labels_dir", "run", "home")}
        return replace(self, **{n: path and path.resolve() for n, path in paths.items()})


class StudentFitter:
    """A worker: students opened from the disk, fitted by name."""

    def __init__(self, inputs: FitInputs) -> None:
        self.inputs = inputs

    @cached_property
    def students(self) -> AdaptedStudents:
        """Opened with the first fit: what is wrong with them is then the error of that fit."""
        place = self.inputs
        assert place.cohort is not None, "checked by spread_fits"
        cohort = read_cohort(place.cohort)
        labels = load_labels(place.labels_dir, cohort, place.configs[2])
        return open_students(cohort, labels, place.run, place.configs, home=place.home)[0]

    def fit(self, name: str) -> tuple[str, float]:
        """Make the node of a student; its name and the seconds that its fit took."""
        before = len(self.students.seconds)
        self.students.estimates(name)
        return name, sum(self.students.seconds[before:])


@contextmanager
def spread_fits(students: AdaptedStudents, inputs: FitInputs) -> Iterator[None]:
    """While the block runs, students that are asked for together are fitted in Ray workers.

    Nothing changes where the engine is this process.

    Raises:
        LeadlineError: Ray is not installed or cannot be reached, the cohort is not on disk, or
            the processes of a launcher already share each fit.
    """
    config = inputs.configs[0]
    if config.engine != RAY:
        yield
        return
    if inputs.cohort is None:
        raise LeadlineError(
            "The Ray engine reads a cohort from the disk.",
            remedy="Give the directory of the cohort, or use --engine local.",
        )
    if processes.launched() > 1:
        raise LeadlineError(
            "--engine ray under torchrun.",
            remedy="Use one of them: torchrun shares each fit among devices, Ray deals out fits.",
        )
    ray = import_ray(config.ray_address)
    with ray_session(ray, config.ray_address):
        fitters = FitPool(ray, inputs.absolute())
        students.fit_together = fitters.fit
        try:
            yield
        finally:
            students.fit_together = None


class FitPool:
    """Workers that are started when there is work, and the fits that they are given."""

    def __init__(self, ray: Any, inputs: FitInputs) -> None:
        self.ray, self.inputs = ray, inputs

    def fit(self, students: AdaptedStudents, names: Iterable[str]) -> None:
        """Have students fitted, and first whatever their labels descend from.

        Raises:
            LeadlineError: a worker met one, or died again and again.
        """
        while ready := students.fits_at_hand(names):
            # Labels are made here: workers that need the same would make them twice.
            for name in ready:
                for label in students.setting.plan.students[name].labels:
                    students.labels(label)
            self._run(students, ready)

    def _run(self, students: AdaptedStudents, names: list[str]) -> None:
        """Have fits run that need nothing of each other.

        Their workers go at the end: what is decided next is worked out on the same devices.
        """
        ray, workers = self.ray, self.inputs.configs[0].workers
        count, gpus = workers_and_gpus(ray.cluster_resources(), workers, len(names))
        actor = ray.remote(
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=TRIES - 1,
            max_task_retries=TRIES - 1,
            runtime_env={"env_vars": worker_environment(1)},
        )(StudentFitter)
        pool = ray.util.ActorPool([actor.remote(self.inputs) for _ in range(count)])
        try:
            fits = pool.map_unordered(lambda fitter, name: fitter.fit.remote(name), names)
            for name, seconds in fits:
                students.seconds.append(seconds / count)
                students.say_fitted(name)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, LeadlineError) else error) from None
        except ray.exceptions.RayActorError as error:
            raise LeadlineError(
                f"A worker died {TRIES} times while it fitted a model.",
                remedy="Use fewer --workers or a smaller reader, so that each has more memory; the "
                "same command goes on from the last checkpoints.",
            ) from error
