"""Both arms of a run whose people were given a questionnaire in the chat: kept and masked.

Where it is read, the same models are also asked what they say of the text with the questionnaire
blanked. That needs no second training. A model that was trained on masked text would do at least as
well on it, so the masked arm says how much of the score hangs on the questionnaire, and not how
good a model without it would be.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from leadline.cohort.config import WindowConfig
from leadline.cohort.store import Cohort
from leadline.runs.config import TrainConfig
from leadline.runs.ensemble import Ensemble
from leadline.runs.forecast import read_states
from leadline.runs.labelled import Labelled, labelled_people
from leadline.runs.predictions import ensemble_predictions
from leadline.tables import MASKED_ARM


def masked_predictions(
    ensemble: Ensemble,
    cohort: Cohort,
    config: TrainConfig,
    window: WindowConfig,
    left_out: dict[str, dict[int, int]],
) -> pl.DataFrame:
    """What the models of a run say where the questionnaire is blanked, a table of `PREDICTIONS`.

    Args:
        ensemble: models that left people out as `left_out` says.
        cohort: whom it was trained on.
        config: of the training.
        window: of the training; the questionnaire was read.
        left_out: person -> repeat -> fold that left the person out.
    """
    labelled = masked_people(cohort, config, window)
    states = read_states(ensemble.source, labelled.people)
    return ensemble_predictions(ensemble, labelled, states, left_out, MASKED_ARM)


def masked_people(cohort: Cohort, config: TrainConfig, window: WindowConfig) -> Labelled:
    """The labelled people of a run whose questionnaires were read, with these blanked."""
    masked = replace(window, mask_questionnaire=True, keep_questionnaire=False)
    return labelled_people(cohort, config, masked)
