"""Students and pseudolabels, cross-fitted by construction.

Let A be folds whose gold is out, and C, which contains A, folds whose people without gold are
out. The student S_r(A, C) of round r is fitted from scratch on the gold outside A and, from
round 1 on, on pseudolabels of the people without gold outside C. For the fold h these come from

- the student S_{r-1}(A, C + h), which has seen neither the gold of A nor anyone of C + h, and
- a label model fitted outside A and C + h, in which the gold people of a fold g are estimated
  by S_{r-1}(A + g, C + h + g).

So a label of a person in h descends from nobody without gold in h, and all that S_r(A, C)
descends from lies outside A and C: the exclusions are handed down the whole recursion, and
each round starts one level further in. S_0(A) sees gold alone. The final model of fold f is
S_r({f}, {f}); it is calibrated on S_r({f, g}, {f, g}) for the other folds g.

People without gold enter a label model through their teachers' draws, and through the student
where S_0 is the student or where there is no teacher. The hyperparameters of a student's head
are those found for S_0(A), so that a fit is one matrix factorisation.

Students and batches are recorded in an `AncestryLedger`, which works out anew who was seen and
refuses what should not have been. What is recorded is read off the rows that a head or a label
model was handed, and who must not be among them is read off the roster as it was drawn: neither
asks the masks that chose the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from leadline.arrays import Array, Ints
from leadline.heads.calibration import Calibration, fit_calibration
from leadline.heads.candidates import (
    Candidate,
    FrozenModel,
    LabelledReadings,
    ViewHeads,
    average_over_views,
    fit_heads,
    head_hyperparameters,
)
from leadline.selftrain.ancestry import (
    PSEUDOLABEL_COLUMNS,
    AncestryLedger,
    Fitted,
    PseudolabelBatch,
    TaintedLabel,
    model_name,
)
from leadline.selftrain.labelling import believed_labels, evenness, observe, raw_labels
from leadline.selftrain.node_store import Node, NodeStore
from leadline.selftrain.plan import GOLD, POSTERIOR, RAW
from leadline.selftrain.roster import Roster
from leadline.teacher.label_model import GOLD_SD, STUDENT, LabelModel, Observations, fit

Folds = frozenset[int]

TRAINED, MEASURED = "trained", "measured"
"""Arrays of a node: rows of the people whom a student, or a batch's label model, was fitted on."""


@dataclass(frozen=True)
class Plan:
    """What all chains of a run share.

    Attributes:
        folds: number of folds.
        candidate: the student's head.
        seed: of the rows on which hyperparameters are chosen.
        even: fill the bands evenly; see `config.SelftrainConfig`.
        gold_sd: standard error of measurement of one PHQ-9, points.
    """

    folds: int
    candidate: Candidate
    seed: int
    even: bool
    gold_sd: float = GOLD_SD


class Chain:
    """The recursion of one draw of the folds.

    Args:
        roster: people, with the gold that this chain may believe.
        repeat: which draw of the folds.
        plan: shared settings.
        store: where nodes are kept.
        ledger: where ancestry is recorded and refused.
        hyperparameters_from: a chain over the same people whose hyperparameters are taken; for
            the canary.
    """

    def __init__(
        self,
        roster: Roster,
        repeat: int,
        plan: Plan,
        store: NodeStore,
        ledger: AncestryLedger,
        *,
        hyperparameters_from: Chain | None = None,
    ) -> None:
        self.roster, self.repeat, self.plan = roster, repeat, plan
        self.store, self.ledger, self.hyperparameters_from = store, ledger, hyperparameters_from
        self.tree = "canary" if hyperparameters_from is not None else "main"
        self.fold = roster.folds[repeat]
        self.open_gold = roster.has_gold & ~roster.locked
        self.open_free = ~roster.has_gold & ~roster.locked
        self.ids = np.array(roster.ids, dtype=object)
        self.used: dict[str, int] = {}  # rounds of the batches that were used
        self._measured: dict[tuple[int, Folds, Folds], tuple[LabelModel, Ints]] = {}

    BELIEVED: ClassVar[tuple[str, ...]] = (RAW,)
    """Kinds of student whose estimates are not moved back to people with gold."""

    # Students

    def student(self, kind: str, round_: int, gold_out: Folds, unlabelled_out: Folds) -> Node:
        """Estimates by a student for those whom it never saw.

        Returns:
            ``gold_mean``, ``gold_sd`` for the rows of `roster.gold` and ``free_mean``,
            ``free_sd`` for those of `roster.unlabelled`, NaN where the student may not estimate.
        """
        if round_ == 0:
            kind, unlabelled_out = GOLD, gold_out
        key = (kind, round_, gold_out, unlabelled_out)
        name = model_name(self.tree, kind, round_, self.repeat, gold_out, unlabelled_out)
        batches = self._batches(*key)
        node = self.store.get(name, lambda: self._estimates(key, batches), needs=TRAINED)
        if name not in self.ledger.fitted:
            self._record(key, node[TRAINED], batches)
            self.ledger.refuse_seen(name, self._estimated(node), "estimates of others")
        return node

    def member(self, kind: str, round_: int, fold: int) -> FrozenModel:
        """The final, calibrated model of a fold, fitted anew from its kept pseudolabels."""
        out = frozenset({fold})
        self.student(kind, round_, out, out)
        key = (kind if round_ else GOLD, round_, out, out)
        batches = self._batches(*key)
        parts, trained = self._fit(key, batches)
        self._record(key, trained, batches)
        return FrozenModel(self.plan.candidate, parts, self.calibration(kind, round_, fold))

    def calibration(self, kind: str, round_: int, fold: int) -> Calibration:
        """Calibration of the final model of `fold`, from models that never saw two folds.

        People without gold are not like those with it (who completes a questionnaire depends on
        how they feel), so a student of both is centred between the two; it is moved back to
        people with gold, for whom estimates can be checked. Raw labels are believed as they are,
        and nobody would look.
        """
        rows, mean, sd = self._seconds(kind, round_, fold)
        gold = self.roster.gold
        self._refuse_rows(gold.person[rows], fold, "calibration")
        return fit_calibration(
            mean[rows],
            sd[rows],
            gold.design.words[rows],
            gold.total[rows],
            gold.share[rows],
            gold.final[rows],
            recentre=round_ > 0 and kind not in self.BELIEVED,
        )

    def out_of_fold(self, kind: str, round_: int) -> Array:
        """Raw estimate of each person's last gold reading by the model of their fold, (N,)."""
        out = np.full(len(self.fold), np.nan)
        for fold in range(self.plan.folds):
            in_fold = self.open_gold & (self.fold == fold)
            alone = frozenset({fold})
            node = self.student(kind, round_, alone, alone)
            out[in_fold] = node["gold_mean"][self.roster.last[in_fold]]
        return out

    def leaking_estimates(self) -> Array:
        """Estimates by a gold-only student from which nobody was left out, (N,), NaN without gold.

        What a full leak would look like, for the power of the canary. It labels nobody, no
        figure is made of it, and it is no part of the run's graph.
        """

        def make() -> Node:
            nobody: Folds = frozenset()
            parts, _ = self._fit((GOLD, 0, nobody, nobody), [])
            out = np.full(len(self.fold), np.nan)
            last = self.roster.gold.design.take(self.roster.last[self.open_gold])
            out[self.open_gold], _ = average_over_views(parts, self.plan.candidate, last)
            return {"mean": out}

        return self.store.get(f"{self.tree}-leak-r{self.repeat}", make)["mean"]

    def fusion_model(self, round_: int, fold: int) -> LabelModel:
        """Label model of teachers and the calibrated final student, without anyone of `fold`."""
        calibration = self.calibration(POSTERIOR, round_, fold)
        _, mean, sd = self._seconds(POSTERIOR, round_, fold)
        gold = self.open_gold & (self.fold != fold)
        rows = np.flatnonzero(gold | (self.open_free & (self.fold != fold)))
        self._refuse_rows(rows, fold, "fusion")
        last = self.roster.last[gold]
        student = np.full(len(self.fold), np.nan)
        words = self.roster.gold.design.words[last]
        student[gold] = calibration.distribution(mean[last], sd[last], words).mean()
        observed = self._observe(rows, student, frozenset({fold}))
        return fit(observed, gold_sd=self.plan.gold_sd)

    def training_batches(self, kind: str, round_: int, fold: int) -> list[Node]:
        """The pseudolabels that the final model of `fold` is fitted on."""
        out = frozenset({fold})
        return [node for _, node in self._batches(kind, round_, out, out)]

    def _seconds(self, kind: str, round_: int, fold: int) -> tuple[Ints, Array, Array]:
        """Rows of gold outside `fold`, and all rows' mean and deviation by S({f, g}, {f, g})."""
        gold = self.roster.gold
        mean, sd = np.full(len(gold.total), np.nan), np.full(len(gold.total), np.nan)
        for second_fold in range(self.plan.folds):
            if second_fold != fold:
                both = frozenset({fold, second_fold})
                node = self.student(kind, round_, both, both)
                rows = np.flatnonzero(self.fold[gold.person] == second_fold)
                mean[rows], sd[rows] = node["gold_mean"][rows], node["gold_sd"][rows]
        return np.flatnonzero(np.isfinite(mean)), mean, sd

    def _batches(
        self, kind: str, round_: int, gold_out: Folds, unlabelled_out: Folds
    ) -> list[tuple[str, Node]]:
        if round_ == 0:
            return []
        return [
            self.batch(kind, round_, gold_out, unlabelled_out, to)
            for to in range(self.plan.folds)
            if to not in unlabelled_out
        ]

    def record_gold_only(self, fold: int, trained: Ints) -> None:
        """Enter the model of `fold` that `leadline train` would write, as a student is entered.

        Args:
            fold: whose people it left out.
            trained: rows of the people in the arrays that it was fitted on.
        """
        out = frozenset({fold})
        self._record((GOLD, 0, out, out), trained, [], tree="train")

    def _record(
        self,
        key: tuple[str, int, Folds, Folds],
        trained: Ints,
        batches: list[tuple[str, Node]],
        *,
        tree: str | None = None,
    ) -> None:
        """Enter a student in the ledger and refuse it if it has seen whom it must not.

        Args:
            key: kind, round, folds whose gold is out, folds whose people without gold are out.
            trained: rows of the people in the arrays that its heads were fitted on.
            batches: the pseudolabels among them.
            tree: first word of its name, if it is not one of this chain's students.
        """
        kind, round_, gold_out, unlabelled_out = key
        name = model_name(tree or self.tree, kind, round_, self.repeat, gold_out, unlabelled_out)
        labelled = frozenset(int(row) for _, batch in batches for row in batch["people"])
        own_gold = [row for row in trained.tolist() if row not in labelled]
        batch_names = tuple(batch for batch, _ in batches)
        self.ledger.add_model(Fitted(name, frozenset(self.ids[own_gold]), batch_names))
        hidden = self._hidden(gold_out, unlabelled_out)
        self.ledger.refuse_seen(name, self.ids[hidden], f"training, round {round_}")

    def _hidden(self, gold_out: Folds, unlabelled_out: Folds) -> npt.NDArray[np.bool_]:
        """Who must stay unseen, by the folds and the lock as they were drawn, shape (N,)."""
        fold, has_gold = self.roster.folds[self.repeat], self.roster.has_gold
        hidden = self.roster.locked | np.isin(self.ids, list(self.ledger.locked))
        hidden |= has_gold & np.isin(fold, list(gold_out))
        return hidden | (~has_gold & np.isin(fold, list(unlabelled_out)))

    def _refuse_rows(self, people: Ints, fold: int, purpose: str) -> None:
        """Raise `TaintedLabel` if rows of people hold anyone whom the model of `fold` estimates."""
        hidden = self._hidden(frozenset({fold}), frozenset({fold}))
        count = int(hidden[np.unique(people)].sum())
        if count:
            raise TaintedLabel(
                f"A model has seen {count} of the people that it serves for ({purpose}).",
                remedy="Do not use this run; report how it was made.",
            )

    def _estimated(self, node: Node) -> list[str]:
        """Everyone of whom a student gives an estimate."""
        gold, free = self.roster.gold, self.roster.unlabelled
        rows = [
            gold.person[np.isfinite(node["gold_mean"])],
            free.person[np.isfinite(node["free_mean"])],
        ]
        return list(self.ids[np.unique(np.concatenate(rows))])

    def _in(self, folds: Folds) -> npt.NDArray[np.bool_]:
        return np.isin(self.fold, list(folds))

    def _fit(
        self, key: tuple[str, int, Folds, Folds], batches: list[tuple[str, Node]]
    ) -> tuple[ViewHeads, Ints]:
        """The heads of a student, and the rows of everyone in the arrays handed to them."""
        _, round_, gold_out, _ = key
        gold = self.roster.gold
        in_training = gold.final & (self.open_gold & ~self._in(gold_out))[gold.person]
        rows = gold.take(np.flatnonzero(in_training))
        for _, batch in batches:
            rows = rows.join(self._pseudolabelled(batch))
        scales = None
        if round_ > 0:
            scales = self._scales(gold_out)
        elif self.hyperparameters_from is not None:
            scales = self.hyperparameters_from._scales(gold_out)
        parts = fit_heads(self.plan.candidate, rows, self.plan.seed, scales=scales)
        return parts, np.unique(rows.person)

    def _scales(self, gold_out: Folds) -> list[Array] | None:
        if self.plan.candidate.head != "gp":
            return None  # no other head has hyperparameters to keep
        return list(self.student(GOLD, 0, gold_out, gold_out)["scales"])

    def _pseudolabelled(self, batch: Node) -> LabelledReadings:
        first_free = int(self.roster.has_gold.sum())
        rows = self.roster.unlabelled.take(batch["people"] - first_free)
        return LabelledReadings(
            rows.design, batch["mean"], batch["weight"], rows.person, rows.final, rows.share
        )

    def _estimates(
        self, key: tuple[str, int, Folds, Folds], batches: list[tuple[str, Node]]
    ) -> Node:
        _, round_, gold_out, unlabelled_out = key
        parts, trained = self._fit(key, batches)
        gold, unlabelled = self.roster.gold, self.roster.unlabelled
        # Prefixes serve calibration alone.
        is_needed = gold.final | (gold_out == unlabelled_out and len(gold_out) == 2)
        on_gold = is_needed & (self.open_gold & self._in(gold_out))[gold.person]
        on_free = self._in(unlabelled_out)[unlabelled.person] | (round_ == 0)
        node: Node = {TRAINED: trained, "scales": np.array(head_hyperparameters(parts) or [])}
        for name, rows, may_estimate in (("gold", gold, on_gold), ("free", unlabelled, on_free)):
            mean, sd = np.full(len(may_estimate), np.nan), np.full(len(may_estimate), np.nan)
            at = np.flatnonzero(may_estimate)
            if len(at):
                mean[at], sd[at] = average_over_views(
                    parts, self.plan.candidate, rows.design.take(at)
                )
            node |= {f"{name}_mean": mean, f"{name}_sd": sd}
        return node

    # Pseudolabels

    def batch(
        self, kind: str, round_: int, gold_out: Folds, unlabelled_out: Folds, to: int
    ) -> tuple[str, Node]:
        """Pseudolabels of the people without gold of the fold `to`.

        Args:
            kind: ``posterior``, ``raw`` or ``teacher``.
            round_: of the student that they train, from 1.
            gold_out: folds whose gold is out, for that student.
            unlabelled_out: folds whose people without gold are out.
            to: a fold outside `unlabelled_out`.

        Returns:
            Its name, and ``people`` (rows), ``mean``, ``sd``, ``weight``, and ``measured``, the
            rows of the people whom the label model was fitted on.
        """
        without = unlabelled_out | {to}
        stem = model_name(self.tree, kind, round_, self.repeat, gold_out, without)
        name = f"{stem}-to{to}"
        recipients = np.flatnonzero(self.open_free & (self.fold == to))
        models: list[str] = []
        rows: Ints = np.array([], dtype=np.int64)
        student = np.full(len(self.fold), np.nan)
        if kind != RAW:
            student, rows, models = self._sources(round_, gold_out, without, recipients)
        node = self.store.get(
            name,
            lambda: self._label(kind, (student, rows, recipients), (round_, gold_out, without)),
            needs=MEASURED,
        )
        if name not in self.ledger.batches:
            self._record_batch(name, node, models, recipients, gold_out)
            self.used[name] = round_
        return name, node

    def _record_batch(
        self, name: str, node: Node, models: list[str], recipients: Ints, gold_out: Folds
    ) -> None:
        """Enter a batch. A person's own ratings are the evidence of their label, not ancestors."""
        measured = node[MEASURED]
        barred = frozenset(np.flatnonzero(self._in(gold_out)).tolist())
        example_sets = [self.roster.raters.example_people[row] for row in (*measured, *recipients)]
        examples = frozenset[int]().union(
            *(example_set for example_set in example_sets if not example_set & barred)
        )
        self.ledger.add_batch(
            PseudolabelBatch(
                name=name,
                labelled=frozenset(self.ids[node["people"]]),
                models=tuple(models),
                raters=self.roster.raters.names,
                people=frozenset(self.ids[sorted({*measured.tolist(), *examples})]),
            )
        )

    def _sources(
        self, round_: int, gold_out: Folds, without: Folds, recipients: Ints
    ) -> tuple[Array, Ints, list[str]]:
        """The student's estimates of each person, who is in the label model, and the students."""
        student = np.full(len(self.fold), np.nan)
        names: list[str] = []
        first_free = int(self.roster.has_gold.sum())

        def ask(gold: Folds, free: Folds, people: Ints, field: str, at: Ints) -> None:
            kind = POSTERIOR if round_ > 1 else GOLD
            student[people] = self.student(kind, round_ - 1, gold, free)[field][at]
            free = free if round_ > 1 else gold
            names.append(model_name(self.tree, kind, round_ - 1, self.repeat, gold, free))

        measured = [self.open_gold & ~self._in(gold_out)]
        for fold in set(range(self.plan.folds)) - gold_out:
            people = np.flatnonzero(self.open_gold & (self.fold == fold))
            ask(gold_out | {fold}, without | {fold}, people, "gold_mean", self.roster.last[people])
        ask(gold_out, without, recipients, "free_mean", recipients - first_free)
        for fold in set(range(self.plan.folds)) - without:
            people = np.flatnonzero(self.open_free & (self.fold == fold))
            if round_ == 1:
                ask(gold_out, without, people, "free_mean", people - first_free)
            elif not self.roster.raters.names:
                ask(gold_out, without | {fold}, people, "free_mean", people - first_free)
            measured.append(self.open_free & (self.fold == fold))
        return student, np.flatnonzero(np.any(measured, axis=0)), sorted(set(names))

    def _observe(self, rows: Ints, student: Array, gold_out: Folds) -> Observations:
        """What the label model sees of the people at `rows`."""
        barred = self._in(gold_out)
        return observe(self.roster, rows, student, gold=self.open_gold, barred=barred)

    def _label(
        self, kind: str, evidence: tuple[Array, Ints, Ints], context: tuple[int, Folds, Folds]
    ) -> Node:
        student, rows, recipients = evidence
        _, gold_out, _ = context
        observed = self._observe(recipients, student, gold_out)
        measured: Ints = np.array([], dtype=np.int64)
        if kind == RAW:
            labels = raw_labels(observed)
        else:
            if context not in self._measured:
                model = fit(self._observe(rows, student, gold_out), gold_sd=self.plan.gold_sd)
                self._measured[context] = model, rows
            model, measured = self._measured[context]
            labels = believed_labels(kind, model, observed)
        keep = labels.kept()
        node: dict[str, Any] = {
            "people": recipients[keep],
            "mean": labels.mean[keep],
            "sd": labels.sd[keep],
            "weight": labels.weight[keep],
            MEASURED: measured,
        }
        if self.plan.even:
            gold = self.roster.gold.total[self.roster.last[self.open_gold & ~self._in(gold_out)]]
            # One batch of about as many as there are folds.
            groups = self.plan.folds - 1
            node["weight"] = node["weight"] * evenness(node["mean"], gold, groups)
        return node

    # Records

    def table(self) -> pl.DataFrame:
        """All pseudolabels of this chain as rows of `ancestry.PSEUDOLABEL_COLUMNS`."""
        tables = [pl.DataFrame(schema=PSEUDOLABEL_COLUMNS)]
        for name, round_ in self.used.items():
            node = self.store.get(name, dict)
            spans = [self.roster.spans[row] for row in node["people"]]
            columns = {
                "person_id": self.ids[node["people"]].tolist(),
                "first": [span.first for span in spans],
                "last": [span.last for span in spans],
                "source": [STUDENT] * len(spans),
                "round": [round_] * len(spans),
                "repeat": [self.repeat] * len(spans),
                "batch": [name] * len(spans),
                "total": node["mean"],
                "sd": node["sd"],
                "weight": node["weight"],
            }
            tables.append(pl.DataFrame(columns, schema=PSEUDOLABEL_COLUMNS))
        return pl.concat(tables)
