"""Adapting a causal reader with the Hugging Face Trainer: LoRA, or all of it.

The order of the whole training is drawn once from the seed: batches of people of like
length, shuffled, epoch after epoch. The Trainer walks through it as through one long epoch,
so that a killed training goes on at the very batch where its last checkpoint was written,
with the same random numbers, and ends with the same weights as one that was never killed.

With several processes (`distributed`) each batch of people is divided among them, the longest
conversations first, and the losses are weighed so that their mean is the loss of the batch. So
the number of processes changes how long a training takes, and not what it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import PrinterCallback

from leadline import processes
from leadline.errors import LeadlineError, missing_package
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.curve import Curve, curve_figures
from leadline.finetune.examples import TokenisedPerson, TrainPerson, collate
from leadline.finetune.lower_layers import first_adapted, lower_outputs, output_bytes
from leadline.finetune.model import WEIGHTS, FinetunedModel
from leadline.finetune.module import Regressor
from leadline.finetune.shared import SharedReader
from leadline.finetune.stopping import BEST, BestEpoch, set_aside
from leadline.progress import Advance, progress_bar
from leadline.readers.backbone import pick_dtype

COMPLETE = "complete"

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def finetune(
    people: Sequence[TrainPerson],
    reader: str,
    config: FinetuneConfig,
    out: Path,
    *,
    home: Path | None = None,
    shared: SharedReader | None = None,
) -> FinetunedModel:
    """Train on every labelled reading of `people` and write the checkpoint to `out`.

    While it runs, its state lies in ``out.training``; calling again with the same arguments
    after a kill goes on from there.

    Args:
        people: training people; readings without a label (NaN) are left out.
        reader: a fetched reader or a local model directory (`fetch.reader_path`).
        config: what is adapted and how.
        out: the checkpoint directory to write; it must not exist.
        home: where fetched readers are kept.
        shared: the base and what it gave of people, if the caller makes many fits. It makes a
            fit cheaper and changes none of its weights. The model that is returned stays valid.

    Raises:
        LeadlineError: no labelled reading, the reader is absent, or `out` exists.
    """
    if out.exists():
        raise LeadlineError(
            "The checkpoint already exists.", remedy="Choose another output.", file=out
        )
    labelled = [labelled_only(person) for person in people]
    labelled = [person for person in labelled if person.readings]
    if not labelled:
        raise LeadlineError(
            "No one has a labelled reading to train on.",
            remedy="Give PHQ-9 labels, or a wider --days window.",
        )
    processes.join()
    _check_group(config)
    model = FinetunedModel.untrained(reader, config, home=home, shared=shared)
    work = out.with_name(f"{out.name}.training")
    resume = processes.broadcast(last_checkpoint(work))
    examples = _with_lower(model, model.encode(labelled))
    aside = set_aside(examples, config.stop_share, config.seed)
    trained = [row for row in range(len(examples)) if row not in set(aside)]
    trained_examples = [examples[row] for row in trained]
    if resume is None:
        _prepare_head(model, [labelled[row] for row in trained], trained_examples)
    judge = BestEpoch(model, [examples[row] for row in aside], work) if aside else None
    _train(model, trained_examples, work, resume, judge)
    model.regressor.eval()
    model.save(out)
    if processes.rank() == 0:
        _remove(work)
    processes.barrier()
    return model


def _check_group(config: FinetuneConfig) -> None:
    size = processes.world()
    if config.batch_people < size:
        raise LeadlineError(
            f"--batch-people {config.batch_people} with {size} processes.",
            remedy=f"A batch is divided among the processes: use --batch-people {size} or "
            "more, or fewer processes.",
        )


def labelled_only(person: TrainPerson) -> TrainPerson:
    readings = [r for r in person.readings if not math.isnan(r.total) and r.weight > 0]
    return TrainPerson(person.messages, readings)


def _with_lower(model: FinetunedModel, examples: list[TokenisedPerson]) -> list[TokenisedPerson]:
    """Examples with the outputs of the layers that do not change, where that is possible."""
    if model.config.adapt != "lora" or model.regressor.mix is not None:
        return examples
    rows = [row for example in examples for row in example.rows]
    if model.shared is not None:
        # What is kept of other fits must not decide how this one computes.
        fits = output_bytes(model.regressor.backbone, rows) <= model.config.lower_gb * 1e9
        return model.shared.with_lower(model.regressor, examples) if fits else examples
    outputs = lower_outputs(model.regressor.backbone, rows, model.config.lower_gb)
    if outputs is None:
        return examples
    row_outputs = iter(outputs)
    return [
        example._replace(lower=[next(row_outputs) for _ in example.rows]) for example in examples
    ]


def _start_states(
    model: FinetunedModel, people: Sequence[TrainPerson], examples: Sequence[TokenisedPerson]
) -> list[Tensor]:
    """Running states of the unadapted reader, one (readings, width) a person."""
    if not all(example.lower for example in examples):
        return model.whole_states(people, batch_tokens=4096)
    if model.shared is None:
        return model.start_states(examples)
    first = first_adapted(model.regressor.backbone)
    kind = f"{model.config.pooling} {model.config.state} {first}"
    return model.shared.start_states(kind, examples, model.start_states)


def _prepare_head(
    model: FinetunedModel, people: Sequence[TrainPerson], examples: Sequence[TokenisedPerson]
) -> None:
    """Standardise the head's inputs and fit it to the unadapted reader: where training starts."""
    if not model.config.head_start:
        return
    states = torch.cat(_start_states(model, people, examples))
    readings = [reading for person in people for reading in person.readings]
    totals = torch.tensor([r.total for r in readings], device=model.device)
    weights = torch.tensor([r.weight for r in readings], device=model.device)
    sds = torch.tensor([r.sd for r in readings], device=model.device)
    head = model.regressor.head
    head.standardise(states)
    # Squared points are about a hundred times what cross-entropy in nats is.
    unit = 1.0 if head.kind == "distribution" else 100.0
    head.fit(states, totals, weights, l2=unit * model.config.head_l2, sds=sds)


def plan_batches(lengths: Sequence[int], people: int, epochs: float, seed: int) -> list[list[int]]:
    """The order of a training: batches of indices over all epochs.

    In each epoch the people are shuffled, sorted by length within stretches of eight batches,
    cut into batches, and the batches shuffled: like lengths meet, and neighbours change.

    Args:
        lengths: tokens of each person.
        people: people in a batch; the last of an epoch may hold fewer.
        epochs: times that each person is seen; a fraction ends within an epoch.
        seed: of the order.
    """
    generator = np.random.default_rng(seed)
    plan: list[list[int]] = []
    per_epoch = math.ceil(len(lengths) / people)
    for _ in range(math.ceil(epochs)):
        order = generator.permutation(len(lengths))
        stretch = 8 * people
        order = np.concatenate(
            [
                sorted(order[at : at + stretch], key=lambda index: -lengths[index])
                for at in range(0, len(order), stretch)
            ]
        )
        batches = [order[at : at + people].tolist() for at in range(0, len(order), people)]
        plan += [batches[index] for index in generator.permutation(len(batches))]
    return plan[: max(1, round(per_epoch * epochs))]


class BatchShare(NamedTuple):
    """What one process reads of a batch, and what its sum of losses is divided by."""

    examples: list[TokenisedPerson]
    mass: float | None  # None for a whole batch, which is divided by its own weight


class PlannedBatches(Dataset[BatchShare]):
    """The planned batches, each in as many parts as there are processes.

    Item ``batch * parts + part`` is a part: accelerate deals items to the processes in turn.
    """

    def __init__(
        self, examples: Sequence[TokenisedPerson], plan: Sequence[Sequence[int]], parts: int = 1
    ) -> None:
        self.examples, self.plan, self.parts = examples, plan, parts

    def __len__(self) -> int:
        return len(self.plan) * self.parts

    def __getitem__(self, index: int) -> BatchShare:
        batch = [self.examples[person] for person in self.plan[index // self.parts]]
        if self.parts == 1:
            return BatchShare(batch, None)
        batch.sort(key=lambda example: -example.tokens)
        # The mean over the processes is taken of the gradients: their sum times 1/parts.
        mass = sum(r.weight for example in batch for r in example.readings) / self.parts
        # A process without a person still takes part in the step: it reads the shortest one, at
        # no weight.
        examples = batch[index % self.parts :: self.parts] or [_weightless(batch[-1])]
        return BatchShare(examples, mass)


def _weightless(example: TokenisedPerson) -> TokenisedPerson:
    return example._replace(readings=[r._replace(weight=0.0) for r in example.readings])


def collate_part(part: BatchShare, state: str) -> dict[str, Tensor]:
    """A part of a batch as tensors: `examples.collate`, and its ``mass``."""
    batch = collate(part.examples, state)
    return batch if part.mass is None else {**batch, "mass": torch.tensor(part.mass)}


class MarkComplete(TrainerCallback):
    """Mark a checkpoint once all of its files are written, by every process."""

    def on_save(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Called by the Trainer after the last file of a checkpoint."""
        processes.barrier()
        if processes.rank() == 0:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class ShowSteps(TrainerCallback):
    """Tell a progress bar of each step."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:  # noqa: ARG002
        """Called by the Trainer after each step of the optimiser."""
        self.advance(state.global_step, state.max_steps)


class RegressorTrainer(Trainer):
    """The Trainer, told what is trained: own learning rate for pool and head, small files.

    It logs every step, so that a training that goes on after a kill has the lines it would have.
    """

    regressor: Regressor
    config: FinetuneConfig
    step_sums: Tensor | None = None

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        """The loss of a part of a step; what the curve says of it is added up."""
        loss, outputs = super().compute_loss(*args, **{**options, "return_outputs": True})
        sums = outputs["sums"]
        self.step_sums = sums if self.step_sums is None else self.step_sums + sums
        return (loss, outputs) if options.get("return_outputs") else loss

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Log a step, the losses of gold and pseudolabels apart."""
        if "loss" in logs and self.step_sums is not None:
            sums = self.accelerator.reduce(self.step_sums, "sum")
            logs = {**logs, **curve_figures(sums.tolist())}
            self.step_sums = None
        super().log(logs, *args, **options)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        dataset: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(dataset)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with two groups: the reader's adapters or weights, and pool and head."""
        if self.optimizer is None:
            named = (model or self.regressor).named_parameters()
            trained = [(name, p) for name, p in named if p.requires_grad]
            groups = [
                {"params": [p for n, p in trained if "backbone." in n], "lr": self.config.lr},
                {
                    "params": [p for n, p in trained if "backbone." not in n],
                    "lr": self.config.head_lr,
                },
            ]
            self.optimizer = torch.optim.AdamW(groups, weight_decay=self.config.weight_decay)
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict  # the Trainer would write the whole base with it
        tensors = self.regressor.trained_tensors()
        if processes.rank() > 0:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        del model
        self.regressor.restore(load_file(Path(resume_from_checkpoint) / WEIGHTS))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.divided:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        inner = self.optimizer.optimizer  # type: ignore[union-attr]
        state = get_optimizer_state_dict(self.regressor, inner, options=WHOLE)
        assert self.lr_scheduler is not None
        if processes.rank() == 0:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.divided or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        inner = self.optimizer.optimizer  # type: ignore[union-attr]
        assert self.lr_scheduler is not None
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, weights_only=True)
        set_optimizer_state_dict(self.regressor, inner, state, options=WHOLE)
        self.lr_scheduler.load_state_dict(
            torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True)
        )

    @property
    def divided(self) -> bool:
        """True where `distributed.shard` divided the weights among the processes."""
        return self.config.shard and processes.world() > 1


def _train(
    model: FinetunedModel,
    examples: Sequence[TokenisedPerson],
    work: Path,
    resume: Path | None,
    judge: BestEpoch | None,
) -> None:
    config = model.config
    lengths = [example.tokens for example in examples]
    plan = plan_batches(lengths, config.batch_people, config.epochs, config.seed)
    with progress_bar("Training") as advance:
        trainer = RegressorTrainer(
            model=model.regressor,
            args=_arguments(config, work, model.device, steps=len(plan) // config.accumulate),
            train_dataset=PlannedBatches(examples, plan, processes.world()),
            data_collator=lambda items: collate_part(items[0], config.state),
            callbacks=[MarkComplete(), ShowSteps(advance)],
        )
        trainer.regressor, trainer.config = model.regressor, config
        # The Trainer then neither wraps nor moves the model, and averages the gradients of what
        # lies whole in every process (pool and head).
        trainer.is_distributed_loading_by_transformers = trainer.divided
        trainer.remove_callback(PrinterCallback)
        per_epoch = math.ceil(len(examples) / config.batch_people) / config.accumulate
        if judge is not None:
            judge.attend(trainer, per_epoch)
        before = _fingerprint(model.regressor)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    _assert_trained(before, _fingerprint(model.regressor))
    best = judge.restore() if judge is not None else None
    model.curve = Curve(trainer.state.log_history, per_epoch, model.regressor.head.unit, best)


def _fingerprint(regressor: Regressor) -> dict[str, tuple[float, float]]:
    """Sum and sum of squares of this process's part of every trained tensor."""
    parts = {
        name: processes.local_part(value).double()
        for name, value in regressor.trained_parameters().items()
    }
    return {name: (float(x.sum()), float((x * x).sum())) for name, x in parts.items()}


def _assert_trained(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]
) -> None:
    """Every part that should learn has moved: a head left frozen is a silent failure."""
    for part in ("backbone.", "head.linear."):
        moved = any(before[name] != after[name] for name in after if name.startswith(part))
        assert moved, f"nothing of {part} was trained"
    assert np.isfinite(list(after.values())).all(), "weights are not finite"


def _arguments(
    config: FinetuneConfig, work: Path, device: torch.device, steps: int
) -> TrainingArguments:
    # Under LoRA the base itself lies in bfloat16; a whole reader is trained in mixed precision.
    # Divided weights are cast where they are gathered (`distributed.shard`).
    divided = config.shard and processes.world() > 1
    if config.report_to == "tensorboard" and find_spec("tensorboard") is None:
        raise missing_package("tensorboard", "tracking", "--report-to tensorboard")
    mixed = config.adapt == "full" and pick_dtype(config.dtype) == torch.bfloat16 and not divided
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=1,  # one item of the dataset is one batch of people
        gradient_accumulation_steps=config.accumulate,
        num_train_epochs=1,  # the plan holds all epochs
        learning_rate=config.lr,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup * steps),
        max_grad_norm=1.0,
        bf16=mixed,
        use_cpu=device.type == "cpu",
        seed=config.seed,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=2,
        logging_steps=1,
        report_to=config.report_to,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        log_level="error",
    )


def last_checkpoint(work: Path) -> Path | None:
    """The newest finished checkpoint of an unfinished training, None if there is none."""
    folders = [file.parent for file in work.glob(f"checkpoint-*/{COMPLETE}")]
    return max(folders, key=lambda folder: int(folder.name.split("-")[1]), default=None)


def _remove(work: Path) -> None:
    """Delete the state of a finished training; logs for TensorBoard stay."""
    import shutil

    for folder in work.glob("checkpoint-*"):
        shutil.rmtree(folder)
    (work / BEST).unlink(missing_ok=True)
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()
