"""`leadline prior`: a run that has seen no label: anchors rank, an assumed population is the scale.

What is on disk is a run like any other with one model, so that every verb takes it; its ledger is
empty, which says that nobody's PHQ-9 was read. The ranking is put on the assumed population's scale
by people without labels (`--on`), or, where none are there, by turns of simulated people, which is
a guess: how far their anchor scores spread is not how far those of other people do. See
`heads.prior` and docs/cold-start.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from leadline.about import NO_LABEL, NOTICE
from leadline.artefact import MANIFEST, read_manifest, sha256, write_manifest
from leadline.cohort.config import WindowConfig
from leadline.cohort.masking import mask_people
from leadline.cohort.store import Cohort
from leadline.cohort.timeline import Timeline
from leadline.cohort.windows import Span, running_starts, timelines_to_read
from leadline.errors import LeadlineError
from leadline.heads.calibration import Calibration
from leadline.heads.candidates import Candidate, FrozenModel
from leadline.heads.design import Design
from leadline.heads.prior import AGREEMENT, AnchorPrior
from leadline.output import scratch_folder
from leadline.phq9.population import Population, population_named
from leadline.runs.checkpoint import load_ensemble, open_source, save_ensemble, settled
from leadline.runs.config import TrainConfig
from leadline.runs.description import RUN_FILES
from leadline.runs.directory import RunIsTrained, run_directory
from leadline.runs.ensemble import Ensemble, Member
from leadline.runs.forecast import read_people
from leadline.runs.labelled import cohort_hashes
from leadline.runs.ledger import ledger_table
from leadline.runs.state_source import StateSource
from leadline.settings import check_choices, same, setting
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset
from leadline.tables import ESTIMATES, PREDICTIONS

ANCHORS = Candidate("prior", per_view=False)

LEAST_PEOPLE = 30
"""People without whom the quantiles of a ranking are noise."""

MOST_PEOPLE = 2000
"""People of a cohort who are read to set the scale; more move no quantile."""

STAND_INS, STAND_IN_SEED = 40, 0
"""Simulated people whose turns are the scale where there is no cohort."""

GUESSED = 1.2
"""Factor on deviations where the scale is a guess: ranks of the check-ins lay off it by up to .8 of
a deviation and spread up to 1.4 times as far (docs/cold-start.md)."""

HALF_WORDS, FEW_WORDS = 10.0, 1.0
"""By assumption an estimate from ten words goes half of the way from the population's mean."""


@dataclass(frozen=True)
class PriorConfig:
    """What is assumed before any label."""

    reader: str = same(TrainConfig, "reader")
    layers: tuple[str, ...] = same(TrainConfig, "layers")
    sentence_layers: tuple[str, ...] = same(TrainConfig, "sentence_layers")
    pool: str = setting("mean", "How turn states are combined.", choices=("mean", "words", "last"))
    population: str = setting(
        "help-seekers",
        "Whose totals are assumed: help-seekers (mean 10.0, SD 6.6), general (3.18, 4.09), or a "
        "mean and a standard deviation such as 12.5,6.",
    )
    agreement: float = setting(
        AGREEMENT,
        "Assumed correlation of the anchors' ranking with severity; the lower, the wider.",
        least=0.05,
        most=0.95,
    )
    dtype: str = same(TrainConfig, "dtype")
    max_tokens: int = same(TrainConfig, "max_tokens")

    def __post_init__(self) -> None:
        check_choices(self)
        population_named(self.population)

    def as_training(self) -> TrainConfig:
        """The settings by which the run's readers are opened."""
        return TrainConfig(
            reader=self.reader, layers=self.layers, sentence_layers=self.sentence_layers,
            pool=self.pool, dtype=self.dtype, max_tokens=self.max_tokens, lexical="off",
        )  # fmt: skip


def prior_run(
    out: Path | str,
    config: PriorConfig | None = None,
    window: WindowConfig | None = None,
    *,
    on: Cohort | None = None,
    overwrite: bool = False,
    home: Path | None = None,
) -> dict[str, Any]:
    """Write a run from no label and return its manifest.

    Args:
        out: the run directory.
        config: reader, population, agreement.
        window: which text counts for an estimate.
        on: people whose words set the scale; their PHQ-9s, if they have any, are not looked at,
            nor are locked people.
        overwrite: replace a finished run.
        home: where readers and states are kept.

    Raises:
        LeadlineError: too few people, a reader that is not there, an occupied output.
    """
    config, window = config or PriorConfig(), window or WindowConfig()
    train = settled(config.as_training(), home=home)
    config = replace(config, reader=train.reader, dtype=train.dtype)
    people = None if on is None else _people(on, window)
    source = open_source(train, home=home)
    inputs = {} if on is None else cohort_hashes(on)
    settings = {"prior": asdict(config), "window": asdict(window), "inputs": inputs}
    place = _directory(Path(out), settings, overwrite, [on.path if on else None])
    with place as run:
        if (run / MANIFEST).is_file():
            return read_manifest(run, "run")
        design = _design(source, people, window, config.pool)
        population = population_named(config.population)
        widen = GUESSED if people is None else 1.0
        ensemble = prior_ensemble(source, design, population, config, widen)
        save_ensemble(run, ensemble, train, window)
        ledger_table({}, {}).write_parquet(run / "ledger.parquet")
        pl.DataFrame(schema=PREDICTIONS).write_parquet(run / "predictions.parquet")
        pl.DataFrame(schema=ESTIMATES).write_parquet(run / "estimates.parquet")
        return write_manifest(
            run,
            kind="run",
            command="prior",
            settings=settings,
            inputs=inputs,
            files={name: sha256(run / name) for name in (*RUN_FILES, "config.toml")},
            simulated=bool(on is not None and on.simulated),
            training=_facts(config, population, None if people is None else len(people)),
            limit=None,
            seen_until=None,
            labels_seen=0,
            notice=f"{NOTICE} {NO_LABEL}",
            population=asdict(population),
            selection=[],
            questionnaire=None,
            reference_model="leadline",
            readers=source.identities,
        )


@contextmanager
def _directory(
    out: Path, settings: Mapping[str, Any], overwrite: bool, inputs: Sequence[Path | None]
) -> Iterator[Path]:
    """As `run_directory`; the finished run where a killed command that replaced it was the same."""
    try:
        with run_directory(out, settings, overwrite, inputs) as run:
            yield run
    except RunIsTrained as error:
        if not overwrite:
            raise LeadlineError(
                "This run is finished.",
                remedy="Choose another --out, or add --overwrite to replace it.",
                file=out,
            ) from error
        yield out


def prior_ensemble(
    source: StateSource,
    design: Design,
    population: Population,
    config: PriorConfig,
    widen: float,
) -> Ensemble:
    """The one model of a run without labels, by the readings of `design`, `widen` times as wide."""
    views = tuple(design.states)
    head = AnchorPrior.of_people(
        design.inputs(views, views), (population.mean, population.sd), config.agreement
    )
    calibration = Calibration(population.mean, 1.0, HALF_WORDS, widen, FEW_WORDS)
    model = FrozenModel(ANCHORS, ((views, head),), calibration)
    return Ensemble((Member(0, 0, model),), {}, source, config.pool)


def load_prior(run: Path, *, home: Path | None = None) -> tuple[AnchorPrior, StateSource]:
    """What a run of `leadline prior` assumes, and its readers.

    Raises:
        LeadlineError: it is no such run, or cannot be loaded.
    """
    ensemble, _ = load_ensemble(run, home=home)
    model = ensemble.members[0].model
    head = model.parts[0][1] if isinstance(model, FrozenModel) else None
    if not isinstance(head, AnchorPrior) or ensemble.source is None:
        raise LeadlineError(
            "This run is not one of leadline prior.",
            remedy="Make one with: leadline prior --reader R --out RUN",
            file=run,
        )
    return head, ensemble.source


def _people(cohort: Cohort, window: WindowConfig) -> list[Timeline]:
    """People of a cohort who say something, none of them locked."""
    shut = cohort.locked_ids | set(cohort.copies_of_locked)
    everybody = [p for p in timelines_to_read(cohort, window) if p.person_id not in shut]
    talkers = [person for person in everybody if len(person.user)][:MOST_PEOPLE]
    if len(talkers) < LEAST_PEOPLE:
        raise LeadlineError(
            f"Only {len(talkers)} people of this cohort said something and are not locked: too few "
            "to set a scale.",
            remedy=f"Give a cohort of {LEAST_PEOPLE} or more with --on, or leave it out.",
            file=cohort.path,
        )
    return mask_people(talkers, window)


def _design(
    source: StateSource, people: Sequence[Timeline] | None, window: WindowConfig, pool: str
) -> Design:
    """The last reading of each person; of simulated people each turn by itself.

    Their conversations are mostly about other things, so the means over them lie far closer
    together than those of people who write about their mood; single turns lie as far apart.
    """
    persons = list(_stand_ins(window)) if people is None else people
    spans = [
        Span(row, int(first) if people is not None else last, last)
        for row, person in enumerate(persons)
        for last, first in enumerate(running_starts(person, window))
        if people is None or last == len(person.user) - 1
    ]
    states = read_people(source, persons)
    return Design.of(source.directions, states, spans, pool)


def _stand_ins(window: WindowConfig) -> Sequence[Timeline]:
    with scratch_folder("prior") as folder:
        settings = preset("small", people=STAND_INS, gold=STAND_INS, locked=0, seed=STAND_IN_SEED)
        cohort = simulate_cohort(folder / "cohort", settings)
        return list(timelines_to_read(cohort, window))


def _facts(config: PriorConfig, population: Population, people: int | None) -> dict[str, str]:
    """What the report says of what was assumed."""
    scale = (
        f"turns of {STAND_INS} simulated people: a guess"
        if people is None
        else f"{people:,} people of the cohort, whose PHQ-9s were not looked at"
    )
    return {
        "labels seen": NO_LABEL,
        "assumed population": f"mean {population.mean:g}, SD {population.sd:g}: "
        f"{population.source}",
        "assumed agreement of ranking and severity": f"{config.agreement:g}",
        "scale of the ranking": scale,
        "reader": config.reader,
        "adaptation": "frozen",
        "models in the ensemble": "1",
    }
