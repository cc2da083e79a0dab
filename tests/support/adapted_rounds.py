"""Rounds of adapted readers of tiny people, whose fits take milliseconds."""

from __future__ import annotations

from tests.support.number_models import load_numbers
from tests.support.rounds import LENIENT

from leadline.cohort.config import WindowConfig
from leadline.finetune.resources import SHAPES, Step
from leadline.runs.config import TrainConfig
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.cost import Machine
from leadline.selftrain.selftrain import selftrain_run

TRAIN = TrainConfig(reader="numbers", adapt="lora", folds=5, baselines=False)
MACHINE = Machine(SHAPES["smollm2"], Step(300), 4.0, 1e12, "invented", 1.0, shares_lower=True)


def stand_in(patch, trainer):
    """Fits take milliseconds, and nothing is timed."""
    course = "leadline.selftrain.adapted_rounds"
    patch.setattr("leadline.selftrain.adapted.train_adapted", trainer)
    patch.setattr("leadline.finetune.members.FinetunedModel.load", lambda p, **_: load_numbers(p))
    patch.setattr("leadline.finetune.model.WEIGHTS", "weights.json")
    patch.setattr("leadline.selftrain.programme.reader_path", lambda *a, **k: None)
    patch.setattr(f"{course}.machine_of", lambda *a, **k: (MACHINE, [300] * 10))


def go(people, out, *, labels="labels", train=TRAIN, say=lambda _: None, **change):
    """A run of two rounds, which are kept whatever they gain."""
    folder, cohort, _ = people
    config = SelftrainConfig(**{"rounds": 2, "members": 2, "canary": 0.0, **LENIENT, **change})
    where = folder / labels if labels else None
    return selftrain_run(cohort, where, out, config, train, WindowConfig(), say=say)
