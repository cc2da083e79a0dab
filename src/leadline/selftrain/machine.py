"""A reader on this machine, as far as what a plan of fits takes goes."""

from __future__ import annotations

from pathlib import Path

from leadline import processes
from leadline.cohort.timeline import Timeline
from leadline.runs.config import TrainConfig
from leadline.runs.train import finetune_config
from leadline.selftrain.cost import Machine, People, mean_tokens
from leadline.selftrain.roster import Roster


def machine_of(train: TrainConfig, roster: Roster, home: Path | None) -> tuple[Machine, list[int]]:
    """The reader where it runs, and the tokens of each person, by counting and by timing a step.

    Raises:
        LeadlineError: the reader is absent.
    """
    from leadline.finetune.examples import TrainPerson
    from leadline.finetune.speed import machine_speed, memory_gib, person_tokens, shape_of, step_of

    config = finetune_config(train, train.seed)
    people = [TrainPerson(person.messages, []) for person in _open(roster)]
    tokens = person_tokens(train.reader, people, config.max_tokens, home=home)
    speed = machine_speed(train.reader, config, people, home=home)
    usual = max(1, round(mean_tokens(tokens)))
    machine = Machine(
        shape=shape_of(train.reader, config, home=home),
        step=step_of(config, usual),
        epochs=config.epochs,
        operations=speed.operations,
        basis=speed.basis,
        memory_gib=memory_gib(train.reader, config, max(tokens), home=home),
        shares_lower=config.adapt == "lora" and len(config.layers) == 1,
    )
    return processes.broadcast((machine, tokens))  # all refuse the same plan, or none does


def people_of(roster: Roster, tokens: list[int]) -> People:
    """How many people there are, and how much they say."""
    gold = int((roster.has_gold & ~roster.locked).sum())
    free = int((~roster.has_gold & ~roster.locked).sum())
    return People(gold, free, mean_tokens(tokens))


def _open(roster: Roster) -> list[Timeline]:
    """Everyone who is not locked."""
    return [person for person, shut in zip(roster.people, roster.locked, strict=True) if not shut]
