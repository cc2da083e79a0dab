"""Early stopping inside the training people: the best epoch, judged on some who are set aside.

The people are set aside by seed among those with gold, and never trained on: neither the first
fit of the head nor any step sees them. After each epoch their loss is taken; the weights of the
epoch with the least are kept. All epochs run, because the learning rate falls over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from leadline import processes
from leadline.errors import LeadlineError
from leadline.finetune.examples import TokenisedPerson, collate, token_groups
from leadline.finetune.model import FinetunedModel

BEST = "best.safetensors"


def set_aside(examples: Sequence[TokenisedPerson], share: float, seed: int) -> list[int]:
    """Rows of the people who judge the epochs: `share` of those with gold, drawn by `seed`.

    Raises:
        LeadlineError: so few have gold that one side would be empty.
    """
    if share == 0:
        return []
    gold = [row for row, example in enumerate(examples) if any(r.gold for r in example.readings)]
    count = max(1, round(share * len(gold)))
    if len(gold) < count + 1:
        raise LeadlineError(
            f"--stop-share {share:g} of {len(gold)} people with a PHQ-9.",
            remedy="Leave --stop-share out, or train on more people.",
        )
    generator = np.random.default_rng([seed, 4217])
    return sorted(generator.choice(gold, count, replace=False).tolist())


class BestEpoch(TrainerCallback):
    """Takes the loss of the people set aside after each epoch and keeps the best weights.

    Args:
        model: the model that is trained.
        people: those set aside; their gold readings count.
        work: where the state of the training lies.
    """

    def __init__(self, model: FinetunedModel, people: Sequence[TokenisedPerson], work: Path):
        self.model, self.file = model, work / BEST
        self.people = [
            person._replace(readings=[r for r in person.readings if r.gold]) for person in people
        ]
        self.trainer: Any = None
        self.steps_per_epoch = 1.0

    def attend(self, trainer: Any, steps_per_epoch: float) -> None:
        """Be told of the steps of `trainer`."""
        self.trainer, self.steps_per_epoch = trainer, steps_per_epoch
        trainer.add_callback(self)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Called by the Trainer after each step of the optimiser."""
        step = state.global_step
        epochs_before, epochs = (int(s / self.steps_per_epoch + 1e-9) for s in (step - 1, step))
        if epochs == epochs_before and step != state.max_steps:
            return
        loss = self.loss()
        self.trainer.log({"held_out_loss": loss})
        control.should_log = True  # which that call took for the log of the step itself
        best = processes.broadcast(self._best())
        if best is None or loss < best[1]:
            self._keep(step, loss)

    @torch.no_grad()
    def loss(self) -> float:
        """Weighted mean loss of the people set aside, without dropout."""
        regressor, config = self.model.regressor, self.model.config
        training = regressor.training
        regressor.eval()
        groups = list(token_groups(self.people, 4096))
        sums: dict[int, tuple[float, float]] = {}
        for number, counts in processes.assigned_jobs(len(groups)):
            batch = collate([self.people[index] for index in groups[number]], config.state)
            batch = {name: part.to(self.model.device) for name, part in batch.items()}
            mean, mass = float(regressor(**batch)["loss"]), float(batch["weights"].sum())
            if counts:
                sums[number] = (mean * mass, mass)
        regressor.train(training)
        totals = np.array(processes.gather(sums, len(groups))).sum(axis=0)
        return float(totals[0] / totals[1])

    def _best(self) -> tuple[int, float] | None:
        if not self.file.is_file():
            return None
        with safe_open(self.file, framework="pt") as stream:
            metadata = stream.metadata()
        return int(metadata["step"]), float(metadata["loss"])

    def _keep(self, step: int, loss: float) -> None:
        tensors = self.model.regressor.trained_tensors()
        if processes.rank() > 0:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.file.with_suffix(".partial")
        save_file(tensors, scratch, metadata={"step": str(step), "loss": repr(loss)})
        scratch.replace(self.file)

    def restore(self) -> int:
        """Put the best weights back; the step that they are of."""
        processes.barrier()
        best = self._best()
        assert best is not None, "the last step is always judged"
        self.model.regressor.restore(load_file(self.file))
        return best[0]
