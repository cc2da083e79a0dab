"""Training by several processes on the CPU (gloo): the same result as by one, and exact resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support import ROOT
from tests.support.readers import people, tiny_reader

from leadline import processes
from leadline.errors import LeadlineError
from leadline.finetune.config import FinetuneConfig
from leadline.finetune.model import WEIGHTS, FinetunedModel
from leadline.finetune.train import PlannedBatches, collate_part, last_checkpoint

# Trains, notes the loss of each step and what the model estimates, and who wrote.
TRAIN = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from leadline import processes
from leadline.finetune import train as module
from leadline.finetune.config import FinetuneConfig
from tests.support.readers import people
given = json.loads(sys.argv[4])
pause = given.pop("pause", 0)
losses = []
class Trainer(module.RegressorTrainer):
    def log(self, logs, *args, **kwargs):
        losses.append(logs.get("loss"))
        super().log(logs, *args, **kwargs)
module.RegressorTrainer = Trainer
plain = module._arguments
def arguments(*args, **kwargs):
    made = plain(*args, **kwargs)
    made.logging_steps = 1
    return made
module._arguments = arguments
def slow(*args, collate=module.collate_part):
    time.sleep(pause)
    return collate(*args)
module.collate_part = slow
out = Path(sys.argv[3])
Path(f"{out}.pid-{os.environ.get('RANK', 0)}").write_text(str(os.getpid()))
model = module.finetune(people(25), sys.argv[2], FinetuneConfig(**given), out)
means = [float(x) for d in model.predict(people(7, seed=3)) for x in d.mean(1)]
note = {"losses": [x for x in losses if x is not None], "estimates": means}
Path(f"{out}.note-{processes.rank()}").write_text(json.dumps(note))
processes.leave()
"""
# 25 people in batches of 4: the last of an epoch holds one, so a process has nobody then.
QUICK = {"epochs": 2, "dtype": "float32", "save_steps": 3, "batch_people": 4, "lr": 1e-3,
         "dropout": 0.0}  # fmt: skip


def start(folder, reader, processes, **config):
    script = folder / "train.py"
    script.write_text(TRAIN)
    out = folder / "-".join(["model", str(processes), *(f"{v}" for v in config.values())])
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                   str(processes)]  # fmt: skip
    given = json.dumps({**QUICK, **config})
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*launch, str(script), str(ROOT), str(reader), str(out), given],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return process, out


def finish(process, out):
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said[-3000:]
    return load_file(out / WEIGHTS), json.loads(Path(f"{out}.note-0").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("group")


@pytest.fixture(scope="module")
def reader(folder):
    return tiny_reader(folder, "llama")


@pytest.mark.parametrize(
    "config",
    [
        {"shard": True},
        pytest.param({"shard": False}, marks=pytest.mark.slow),
        pytest.param({"shard": True, "adapt": "full", "accumulate": 2}, marks=pytest.mark.slow),
        pytest.param({"shard": False, "checkpointing": "recompute"}, marks=pytest.mark.slow),
        pytest.param({"shard": True, "checkpointing": "offload", "lower_gb": 0.0},
                     marks=pytest.mark.slow),
    ],
    ids=lambda config: "-".join(map(str, config.values())),
)  # fmt: skip
def test_two_processes_train_as_one(folder, reader, config):
    pairs = [start(folder, reader, number, **config) for number in (1, 2)]
    (one, alone), (two, both) = (finish(*pair) for pair in pairs)
    assert len(alone["losses"]) == -(-2 * 7 // config.get("accumulate", 1))
    np.testing.assert_allclose(both["losses"], alone["losses"], rtol=2e-4)
    np.testing.assert_allclose(both["estimates"], alone["estimates"], rtol=1e-3)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3)
    out = pairs[1][1]
    assert Path(f"{out}.note-1").read_text() == Path(f"{out}.note-0").read_text()
    assert not out.with_name(f"{out.name}.training").exists()
    assert not list(folder.glob(".*partial*"))


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True])
def test_a_killed_process_ends_the_job_and_the_next_one_goes_on_exactly(folder, reader, shard):
    # With dropout: the random numbers of each process must go on too.
    shared = {"dropout": 0.1, "shard": shard, "epochs": 3}
    whole, _ = finish(*start(folder, reader, 2, **shared))
    process, out = start(folder, reader, 2, **shared, pause=0.15)
    work = out.with_name(f"{out.name}.training")
    deadline = time.monotonic() + 120
    while last_checkpoint(work) is None or last_checkpoint(work).name != "checkpoint-6":
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(int(Path(f"{out}.pid-1").read_text()), signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    process.stdout.close()
    assert not out.exists()
    resumed, note = finish(*start(folder, reader, 2, **shared, pause=0.15))
    assert len(note["losses"]) < 21, "it began anew"
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_parts_of_a_batch_have_the_loss_of_the_batch(reader):
    model = FinetunedModel.untrained(str(reader), FinetuneConfig(dtype="float32", dropout=0.0))
    examples = model.encode(people(5))
    plan = [[0, 1, 2], [3], [4, 2]]
    whole, parts = PlannedBatches(examples, plan), PlannedBatches(examples, plan, parts=2)
    assert len(parts) == 2 * len(whole)
    for number in range(len(plan)):
        one = model.regressor(**collate_part(whole[number], "mean"))["loss"]
        two = [
            model.regressor(**collate_part(parts[2 * number + k], "mean"))["loss"] for k in (0, 1)
        ]
        torch.testing.assert_close((two[0] + two[1]) / 2, one)


def test_one_process_deals_itself_everything():
    assert processes.assigned_jobs(3) == [(0, True), (1, True), (2, True)]
    assert processes.gather({0: "a", 1: "b"}, 2) == ["a", "b"]
    assert (processes.world(), processes.rank(), processes.broadcast(4)) == (1, 0, 4)


def test_shares_are_equally_long_and_cover_all_jobs(monkeypatch):
    monkeypatch.setattr(processes, "world", lambda: 3)
    for count in (0, 1, 3, 7):
        shares = []
        for rank in range(3):
            monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
            shares.append(processes.assigned_jobs(count))
        assert len({len(share) for share in shares}) == 1
        counted = sorted(job for share in shares for job, counts in share if counts)
        assert counted == list(range(count))


def test_fewer_people_in_a_batch_than_processes_is_refused(reader, tmp_path, monkeypatch):
    from leadline.finetune.train import finetune

    monkeypatch.setattr(processes, "world", lambda: 4)
    config = FinetuneConfig(batch_people=2)
    with pytest.raises(LeadlineError, match="4 processes"):
        finetune(people(6), str(reader), config, tmp_path / "model")


@pytest.mark.slow
def test_the_command_line_trains_a_run_in_two_processes(tmp_path, reader, simulated_path):
    import polars as pl

    more = ["--reader", str(reader), "--adapt", "lora", "--folds", "2", "--epochs", "1",
            "--layers", "1.0", "--no-baselines", "--shard", "--max-tokens", "256",
            "--json"]  # fmt: skip
    runs = {}
    for count in (1, 2):
        out = tmp_path / f"run-{count}"
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                  "--nproc-per-node", "2"] if count > 1 else [sys.executable]  # fmt: skip
        done = subprocess.run(
            [*launch, "-m", "leadline", "train", str(simulated_path), "--out", str(out), *more],
            env={**os.environ, "OMP_NUM_THREADS": "1", "LEADLINE_HOME": str(tmp_path / "home")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        json.loads(done.stdout)  # one process prints, and prints once
        assert not list(tmp_path.glob(".*replaced")) + list(out.glob("checkpoint/*.training"))
        runs[count] = pl.read_parquet(out / "predictions.parquet")
        assert (out / "report.html").is_file()
    one, two = runs[1], runs[2]
    assert one.select("model", "person_id", "fold").equals(two.select("model", "person_id", "fold"))
    # bfloat16 and dropout, whose random numbers are each process's own
    np.testing.assert_allclose(one["mean"], two["mean"], atol=1.5)
    frozen = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "leadline", "train", str(simulated_path), "--out", str(tmp_path / "frozen")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert frozen.returncode != 0
    assert "--adapt frozen in 2 processes" in frozen.stderr
    assert not (tmp_path / "frozen").exists()
