"""Small runs that are exported, and people whom they never saw."""

from dataclasses import replace

from tests.support.cohorts import some_people

from leadline.cohort.config import WindowConfig
from leadline.cohort.timeline import timelines
from leadline.runs.train import train_run


def trained_on(simulated, config, folder, home, people=24):
    """A run on some people of the simulated cohort."""
    gold = simulated.phq9["person_id"].unique().sort().to_list()[:people]
    cohort = some_people(simulated, set(gold))
    train_run(cohort, folder / "run", config, WindowConfig(), home=home)
    return folder / "run"


def strangers(simulated, count=5):
    people = list(timelines(simulated))[:count]
    return [replace(person, person_id=f"stranger {n}") for n, person in enumerate(people)]
