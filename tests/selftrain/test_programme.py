"""What a run sets out to make, from what people and folds allow."""

from __future__ import annotations

import pytest
from tests.support.adapted_rounds import TRAIN

from leadline.cohort.config import WindowConfig
from leadline.errors import LeadlineError
from leadline.selftrain.config import SelftrainConfig
from leadline.selftrain.plan import PAPER, RAW, TEACHER
from leadline.selftrain.programme import open_students
from leadline.selftrain.roster import load_labels


def opened(people, run, **change):
    folder, cohort, _ = people
    configs = (SelftrainConfig(**change), TRAIN, WindowConfig())
    labels = load_labels(folder / "labels", cohort, WindowConfig())
    return open_students(cohort, labels, run, configs)


def test_two_processes_open_the_same_students(people, trainer, tmp_path):
    one, programme, _ = opened(people, tmp_path / "one", rounds=2)
    other, again, _ = opened(people, tmp_path / "other", rounds=2)
    assert programme == again
    assert one.setting.plan == other.setting.plan
    assert all((a == b).all() for a, b in zip(one.parts, other.parts, strict=True))


def test_folds_bound_the_rounds_and_the_reason_is_said(people, trainer, tmp_path):
    _, programme, reason = opened(people, tmp_path, rounds=3, ablation=True)
    assert programme.rounds == 3
    assert reason is None
    assert programme.ablation == (RAW, TEACHER)
    _, cohort, _ = people
    few = cohort.phq9["person_id"].unique().sort()[:60]
    small = type(cohort)(
        cohort.turns, cohort.phq9.filter(cohort.phq9["person_id"].is_in(few.implode())),
        cohort.people, cohort.manifest, cohort.path,
    )  # fmt: skip
    configs = (SelftrainConfig(rounds=3), TRAIN, WindowConfig())
    _, programme, reason = open_students(small, None, tmp_path / "few", configs)
    assert programme.rounds < 3
    assert "allow" in reason
    with pytest.raises(LeadlineError, match="development set"):
        open_students(
            small, None, tmp_path / "paper",
            (SelftrainConfig(rounds=1, scheme=PAPER), TRAIN, WindowConfig()),
        )  # fmt: skip
