"""What adapted students are fitted on, and that spoilt code is caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.adapted_rounds import TRAIN, go
from tests.support.number_models import NumberTrainer

from leadline.cohort.config import WindowConfig
from leadline.selftrain import adapted
from leadline.selftrain.adapted import AdaptedStudents, Setting
from leadline.selftrain.ancestry import AncestryLedger, TaintedLabel
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.plan import POSTERIOR, Programme, crossfit_plan, paper_plan
from leadline.selftrain.roster import load_labels, open_roster
from leadline.teacher.label_model import GOLD_SD


def students_of(people, run, plan, *, change=None, **config):
    """Everyone's students, none of them fitted yet."""
    folder, cohort, _ = people
    labels = load_labels(folder / "labels", cohort, WindowConfig())
    roster, _ = open_roster(cohort, labels, None, TRAIN, WindowConfig())
    if change is not None:
        roster = change(roster)
    ledger = AncestryLedger(cohort.locked_ids, relabels=plan.scheme == "paper")
    setting = Setting(plan, SelftrainConfig(rounds=2, **config), TRAIN, run)
    return AdaptedStudents(roster, setting, ledger)


def fit_all(students):
    for name in students.setting.plan.finals():
        students.estimates(name)


def permuted(fold):
    """Permutes the gold of everyone in a fold, whose models must not notice."""

    def change(roster):
        inside = (roster.folds[0] == fold)[roster.gold.person]
        total = roster.gold.total.copy()
        total[inside] = np.random.default_rng(1).permutation(total[inside])
        assert not np.array_equal(total, roster.gold.total)
        return replace(roster, gold=replace(roster.gold, total=total))

    return change


def test_permuting_the_gold_that_a_model_must_not_see_changes_nothing_in_it(
    people, number_fits, tmp_path
):
    plan = crossfit_plan(Programme(2), 5, 1, 1)
    handed = []
    for number, change in enumerate((None, permuted(0))):
        trainer = number_fits(NumberTrainer())
        (tmp_path / str(number)).mkdir()
        fit_all(students_of(people, tmp_path / str(number), plan, change=change))
        handed.append(trainer.handed)
    blind = [name for name, student in plan.students.items() if 0 in student.gold_out]
    assert len(blind) > 10
    for name in blind:
        assert handed[0][name] == handed[1][name]
    others = set(plan.students) - set(blind)
    assert all(handed[0][name] != handed[1][name] for name in others)


def test_a_pseudolabel_is_a_distribution_and_gold_a_point(people, trainer, tmp_path):
    plan = crossfit_plan(Programme(1), 5, 1, 1)
    students = students_of(people, tmp_path, plan)
    name = plan.members[POSTERIOR, 1][0, 0]
    students.estimates(name)
    gold = [reading for reading in trainer.handed[name] if reading.gold]
    rest = [reading for reading in trainer.handed[name] if not reading.gold]
    assert {(reading.weight, reading.sd) for reading in gold} == {(1.0, 0.0)}
    nodes = [students.labels(label) for label in plan.students[name].labels]
    sd = np.concatenate([node["sd"] for node in nodes])
    assert [reading.sd for reading in rest] == pytest.approx(np.hypot(sd, GOLD_SD))
    weight = np.array([reading.weight for reading in rest])
    assert weight == pytest.approx(np.minimum(1, GOLD_SD**2 / sd**2))


@pytest.mark.parametrize("scheme", ["paper", pytest.param("crossfit", marks=pytest.mark.slow)])
def test_a_share_enters_the_first_round_and_everyone_the_last(people, trainer, tmp_path, scheme):
    plan = (
        paper_plan(Programme(2), 5, 1)
        if scheme == "paper"
        else crossfit_plan(Programme(2), 5, 1, 1)
    )
    students = students_of(people, tmp_path, plan, widen="bands", first_share=0.5)
    fit_all(students)
    free = 200 if scheme == "paper" else 160
    counts = [
        sum(not reading.gold for reading in trainer.handed[plan.members[POSTERIOR, r][0, 0]])
        for r in (1, 2)
    ]
    assert counts[0] == pytest.approx(free / 2, abs=3)
    assert counts[1] == pytest.approx(free, abs=free / 20)


def test_bands_are_filled_more_evenly_than_by_chance(people, trainer, tmp_path):
    spread = {}
    for widen in ("bands", "random"):
        (tmp_path / widen).mkdir()
        plan = paper_plan(Programme(2), 5, 1)
        students = students_of(people, tmp_path / widen, plan, widen=widen, first_share=0.3)
        node = students.labels(plan.students[plan.members[POSTERIOR, 1][0, 0]].labels[0])
        handed = [r.total for r in trainer.handed["main-gold-0-r0-g0-u"]]
        bands = np.digitize(np.concatenate([handed, node["mean"]]), [5, 10, 15, 20])
        spread[widen] = np.bincount(bands, minlength=5).std()
    assert spread["bands"] < spread["random"]


def test_a_smaller_reader_labels_and_the_readers_own_is_judged(people, trainer, tmp_path):
    plan = paper_plan(Programme(2, intermediate=True), 5, 1)
    fit_all(students_of(people, tmp_path, plan, intermediate="small"))
    readers = {name: trainer.readers[name] for name in trainer.calls}
    assert {readers[name] for name in plan.finals()} == {"numbers"}
    assert {reader for name, reader in readers.items() if name not in plan.finals()} == {"small"}


def test_weights_of_models_that_only_label_are_not_kept(people, trainer, tmp_path):
    plan = crossfit_plan(Programme(1), 5, 1, 1)
    students = students_of(people, tmp_path, plan)
    fit_all(students)
    kept = {path.name for path in (tmp_path / "nodes" / "fits").iterdir()}
    assert kept == plan.finals()


# Spoilt code


def train_on_everybody(patch):
    def targets(self, student, labels):
        blind = replace(student, gold_out=frozenset())
        return honest(self, blind, labels)

    honest = AdaptedStudents.targets
    patch.setattr(AdaptedStudents, "targets", targets)


def label_whom_one_was_fitted_on(patch):
    """Students of round 1 that were fitted on the very people whom they relabel."""
    honest = AdaptedStudents.targets

    def targets(self, student, labels):
        rows = honest(self, student, labels)
        if student.round == 1:
            free = np.flatnonzero(self.open_free)
            rows += [
                type(rows[0])(self.roster.spans[row], 9.0, 1.0, 1.0, gold=False) for row in free
            ]
        return rows

    patch.setattr(AdaptedStudents, "targets", targets)


def train_on_the_locked(patch):
    def targets(self, student, labels):
        rows = honest(self, student, labels)
        person = int(np.flatnonzero(self.roster.locked)[0])
        return [*rows, rows[0]._replace(span=self.roster.spans[person])]

    honest = AdaptedStudents.targets
    patch.setattr(AdaptedStudents, "targets", targets)


def measure_on_everybody(patch):
    def seen(self, labelling):
        return self.open_gold

    patch.setattr(AdaptedStudents, "_gold_seen", seen)


@pytest.mark.parametrize(
    ("spoil", "schemes"),
    [
        (train_on_everybody, ("crossfit", "paper")),
        (label_whom_one_was_fitted_on, ("crossfit",)),
        (train_on_the_locked, ("crossfit", "paper")),
        (measure_on_everybody, ("crossfit",)),
    ],
)
def test_spoilt_code_does_not_finish(people, trainer, tmp_path, monkeypatch, spoil, schemes):
    spoil(monkeypatch)
    for scheme in schemes:
        with pytest.raises(TaintedLabel):
            go(people, tmp_path / scheme, scheme=scheme, ablation=False, fuse=False)
        assert not (tmp_path / scheme / "manifest.json").exists()


def test_raw_means_of_a_scalar_head_are_the_numbers():
    numbers = np.array([3.0, 30.0])
    assert adapted.raw_means(numbers) is numbers
    flat = np.full((1, 28), 1 / 28)
    assert adapted.raw_means(flat) == pytest.approx([13.5])
