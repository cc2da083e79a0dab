"""Small cohorts and readers made on the spot, and the settings that train on them in seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from leadline.cohort.store import Cohort
from leadline.phq9.items import ITEM_COLUMNS
from leadline.simulate.config import preset
from leadline.tables import PEOPLE, PHQ9, TURNS

SMALL = preset("easy", people=60, gold=44, locked=10, user_turns=9.0)
START = datetime(2025, 3, 1, 12, tzinfo=UTC)


def day(number: float | None) -> datetime | None:
    """A moment counted in days from `START`; None stays unknown."""
    return None if number is None else START + timedelta(days=number)


def turn_rows(person: str, said: list[tuple[str, float | None]], conversation: str = "c") -> list:
    """Rows of `turns`: (role, day) pairs of one person, with words that tell them apart."""
    return [
        (person, conversation, i, role, f"{person} {role} number {i}", day(at))
        for i, (role, at) in enumerate(said)
    ]


def label_row(
    person: str, at: float | None, total: float | None, instrument: str = "phq9"
) -> tuple:
    """A row of `phq9` without items."""
    return (person, day(at), total, total, *[None] * len(ITEM_COLUMNS), instrument, False)


def cohort_of(turns: list, labels: list, locked: tuple[str, ...] = ()) -> Cohort:
    """A cohort in memory of rows of `turns` and `phq9`."""
    names = list(dict.fromkeys([row[0] for row in turns] + [row[0] for row in labels]))
    return Cohort(
        turns=pl.DataFrame(turns, schema=TURNS, orient="row"),
        phq9=pl.DataFrame(labels, schema=PHQ9, orient="row"),
        people=pl.DataFrame([(n, n in locked) for n in names], schema=PEOPLE, orient="row"),
        manifest={},
    )


def scored_people(totals: list[float]) -> Cohort:
    """One person with two turns and a PHQ-9 for each of `totals`."""
    names = [f"n{i:03d}" for i in range(len(totals))]
    turns = [row for n in names for row in turn_rows(n, [("user", 0), ("user", 1)])]
    return cohort_of(turns, [label_row(n, 2, t) for n, t in zip(names, totals, strict=True)])


def tiny_sentence_reader(folder: Path, texts: list[str]) -> Path:
    """A sentence encoder of the real layout with random weights: nearly a bag of words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=list(marks.values()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=24, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=24, max_position_embeddings=128,
        initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    files: dict[str, Any] = {
        "modules.json": modules,
        "pooling.json": {"pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 120},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def with_totals(cohort: Cohort, people: set[str], seed: int = 0) -> Cohort:
    """The cohort with the totals of `people` dealt out anew among them."""
    mine = cohort.phq9["person_id"].is_in(list(people))
    dealt = cohort.phq9.filter(mine)["total"].shuffle(seed=seed)
    totals = cohort.phq9["total"].to_list()
    new = iter(dealt.to_list())
    changed = [next(new) if own else total for own, total in zip(mine, totals, strict=True)]
    phq9 = cohort.phq9.with_columns(pl.Series("total", changed, dtype=pl.Float64))
    return replace(cohort, phq9=phq9)


def some_people(cohort: Cohort, names: set[str]) -> Cohort:
    """The cohort of these people alone."""
    mine = pl.col("person_id").is_in(list(names))
    tables = {name: getattr(cohort, name).filter(mine) for name in ("turns", "phq9", "people")}
    return replace(cohort, **tables)


def undated(cohort: Cohort) -> Cohort:
    """The cohort without any time."""
    never = pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("time")
    return replace(
        cohort, turns=cohort.turns.with_columns(never), phq9=cohort.phq9.with_columns(never)
    )


def files_of(folder: Path) -> dict[str, bytes]:
    """Bytes of every file below `folder`, by relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
