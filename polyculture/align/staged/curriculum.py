"""Curry-DPO: preference pairs in stages from easy to hard, each stage's result the reference of the next.

Curry-DPO: Enhancing Alignment using Curriculum Learning & Ranked Preferences (2024, arXiv:2403.07230), section 3: of
each prompt's ranked answers the best is paired with every worse one (:mod:`polyculture.align.data.ranked`); the pairs
are cut into T = 3 stages by decreasing gap of the ratings; stage t trains plain DPO from the model of stage t - 1 with
a frozen copy of that model as reference (:func:`polyculture.align.staged.stages.train_stages`).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from polyculture.align.data.ranked import Order, has_answers, pair_rows, reordered
from polyculture.align.staged.cuts import MODES, Mode, cut_stages, standardised
from polyculture.errors import BadInput, unknown
from polyculture.wording import counted

if TYPE_CHECKING:
    from polyculture.align.objective import Objective

CRITERIA = ("auto", "rating", "reference")
Row = dict[str, Any]
ReferenceGap = Callable[[Sequence[Mapping[str, Any]]], Sequence[float] | np.ndarray]
"""From rows of pairs to the reference's ln p(chosen) - ln p(rejected) of each, in nats; NaN leaves a pair out.

:class:`polyculture.align.reference.gap.ReferenceGaps` is one.
"""


@dataclass(frozen=True)
class Curriculum:
    """The stages of a data set, and how they came about.

    Args:
        stages: rows of pairs for each stage, none empty; a row's "stage" counts from 1, its "ease" is what it was
            ordered by.
        criterion: what they were ordered by.
        mode: how they were cut.
        counts: what was left out, by reason.
    """

    stages: list[list[Row]]
    criterion: Literal["rating", "reference"]
    mode: Mode
    counts: Mapping[str, int]


@dataclass(frozen=True)
class CurryDPO:
    """A curriculum around DPO: ranked answers give pairs, trained from easy to hard, the reference handed over.

    The refresh multiplies what beta allows: three stages may move about three times as far from the base as one. To
    credit the curriculum, compare with as many steps on the pooled pairs, with a random order, and with
    ``update_reference="never"``.

    Rows hold "responses" and "scores", or are pairs already ("chosen", "rejected"). Pairs have no ranking to take turns
    from, so they are cut in equal parts ("global") whatever the mode: by their "margin" (or "score_chosen" and
    "score_rejected") where every row has one, otherwise by the reference's lead ln p(chosen) - ln p(rejected). A pair
    that the reference already gets right by far is easy; one that it gets wrong is hard. The lead sums over tokens, as
    DPO does, so a long rejected answer counts as easy.

    Args:
        beta: strength of the pull to each stage's reference.
        iterations: T, how many stages.
        order: easy first as in the paper; hard first and random are for comparison.
        criterion: what makes a pair easy: the gap of its ratings, or the reference's lead for the chosen answer. "auto"
            is the rating where every pair has one.
        mode: "per_prompt": stage t takes each prompt's t-th pair. "global": all pairs, cut in equal parts.
        update_reference: take the model of the stage before as reference, or the base throughout.
        min_gap: leave out pairs whose ratings differ by less: the narrowest have the noisiest labels.
        standardise: "none"; "prompt": gaps over their root mean square in each prompt; "column:NAME": over that of the
            rows with the same NAME, for data sets rated on different scales. For the global mode.

    Raises:
        BadInput: beta is not above 0, iterations is below 1 or min_gap below 0.
        UnknownMethod: there is no such order, criterion, mode or update.
    """

    beta: float = 0.1
    iterations: int = 3
    order: Order = "easy_to_hard"
    criterion: Literal["auto", "rating", "reference"] = "auto"
    mode: Mode = "per_prompt"
    update_reference: Literal["each_stage", "never"] = "each_stage"
    min_gap: float = 0.0
    standardise: str = "none"

    def __post_init__(self) -> None:
        from polyculture.align.objectives.bounds import positive

        positive("beta", self.beta, "curry-dpo")
        if self.iterations < 1 or not self.min_gap >= 0:
            raise BadInput(
                "curry-dpo: iterations should be 1 or more and min_gap 0 or more, "
                f"not {self.iterations} and {self.min_gap}"
            )
        for kind, value, known in (
            ("criterion of a curriculum", self.criterion, CRITERIA),
            ("mode of a curriculum", self.mode, MODES),
            ("update of the reference", self.update_reference, ("each_stage", "never")),
        ):
            if value not in known:
                raise unknown(kind, value, known)
        reordered([], [], self.order, 0)
        if self.standardise not in ("none", "prompt") and not self.standardise.startswith("column:"):
            raise unknown("standardisation", self.standardise, ("none", "prompt", "column:NAME"))

    @property
    def objective(self) -> Objective:
        """What each stage trains: DPO."""
        from polyculture.align.objective import Objective

        return Objective.of("dpo", beta=self.beta)

    def stages(
        self,
        rows: Sequence[Mapping[str, Any]],
        reference_gap: ReferenceGap | None = None,
        *,
        rng: np.random.Generator | int | None = 0,
    ) -> list[list[Row]]:
        """The rows of each stage: those of :meth:`plan`.

        Args:
            rows: as for :meth:`plan`.
            reference_gap: as for :meth:`plan`.
            rng: as for :meth:`plan`.
        """
        return self.plan(rows, reference_gap, rng=rng).stages

    def plan(
        self,
        rows: Sequence[Mapping[str, Any]],
        reference_gap: ReferenceGap | None = None,
        *,
        rng: np.random.Generator | int | None = 0,
    ) -> Curriculum:
        """Rows of pairs cut into stages.

        Args:
            rows: dicts with "responses" and "scores", or dicts with "chosen" and "rejected".
            reference_gap: gives the reference's lead of each pair; called once, and only if the criterion needs it.
            rng: of the random order.

        Raises:
            BadInput: rows of both kinds are mixed, one lacks a column, no pair is left, ratings are asked for that are
                not there, or the reference's lead is infinite.
        """
        counts: Counter[str] = Counter()
        ranked = [has_answers(row) for row in rows]
        if any(ranked) and not all(ranked):
            raise BadInput(
                f"row {ranked.index(not ranked[0]) + 1}: rows should all have 'responses' and 'scores', or all be "
                "pairs ('chosen', 'rejected')"
            )
        if any(ranked):
            made = pair_rows(rows, min_gap=self.min_gap)
            pairs, prompts, counts, mode = made.rows, made.prompts, made.counts, self.mode
            margins: list[float] | None = [row["margin"] for row in pairs]
        else:
            pairs, margins = self._pairs(rows, counts)
            prompts, mode = list(range(len(pairs))), "global"
        if not pairs:
            raise BadInput(f"there is no pair to train on{_listed(counts)}; give answers that differ in their scores")
        rating = self.criterion == "rating" or (self.criterion == "auto" and margins is not None)
        ease = self._ratings(pairs, prompts, margins) if rating else _leads(pairs, reference_gap)
        usable = np.flatnonzero(~np.isnan(ease)).tolist()
        counts["can't be trained on"] = len(pairs) - len(usable)
        pairs, prompts, ease = [pairs[i] for i in usable], [prompts[i] for i in usable], ease[usable]
        if not pairs:
            raise BadInput(f"there is no pair to train on{_listed(counts)}")
        cut = cut_stages(prompts, ease, mode=mode, iterations=self.iterations, order=self.order, rng=rng)
        counts["beyond the last stage"] = len(pairs) - sum(map(len, cut))
        stages = [stage for stage in cut if stage]
        self._warn(counts, len(rows), len(stages))
        return Curriculum(
            [[{**pairs[i], "ease": float(ease[i]), "stage": t} for i in stage] for t, stage in enumerate(stages, 1)],
            "rating" if rating else "reference",
            mode,
            {reason: n for reason, n in counts.items() if n},
        )

    def _pairs(self, rows: Sequence[Mapping[str, Any]], counts: Counter[str]) -> tuple[list[Row], list[float] | None]:
        """Rows that are pairs, and their margins if all have one."""
        for i, row in enumerate(rows, 1):
            missing = [name for name in ("chosen", "rejected") if row.get(name) is None]
            if missing:
                raise BadInput(
                    f"row {i}: column '{missing[0]}' is missing; give 'chosen' and 'rejected', or 'responses' and "
                    f"'scores'; columns are {', '.join(row) or '(none)'}"
                )
        found = [_margin(row, f"row {i}") for i, row in enumerate(rows, 1)]
        margins = [margin for margin in found if margin is not None]
        if len(margins) < len(rows):
            if self.min_gap > 0:
                raise BadInput("min_gap is about ratings, and not every pair has a margin; leave it out")
            return [dict(row) for row in rows], None
        keep = [margin > 0 and margin >= self.min_gap for margin in margins]
        counts["tied with the best"] = sum(margin == 0 for margin in margins)
        counts["too small a gap"] = len(rows) - sum(keep) - counts["tied with the best"]
        kept = [({**row, "margin": m}, m) for row, m, wide in zip(rows, margins, keep, strict=True) if wide]
        return [row for row, _ in kept], [margin for _, margin in kept]

    def _ratings(self, pairs: list[Row], prompts: list[int], margins: list[float] | None) -> np.ndarray:
        if margins is None:
            raise BadInput(
                "the criterion is the rating, but not every pair has a margin (or score_chosen and score_rejected); "
                "use criterion 'reference'"
            )
        if self.standardise == "none":
            return np.asarray(margins)
        if self.standardise == "prompt":
            # Rows that are pairs may share a prompt; those of one row of answers have one, whatever it is called.
            return standardised(
                margins,
                [(repr(row["prompt"]) if "prompt" in row else p) for row, p in zip(pairs, prompts, strict=True)],
            )
        name = self.standardise.removeprefix("column:")
        lacking = [i for i, row in enumerate(pairs, 1) if name not in row]
        if lacking:
            raise BadInput(f"standardise: column '{name}' is missing; columns are {', '.join(pairs[lacking[0] - 1])}")
        return standardised(margins, [str(row[name]) for row in pairs])

    def _warn(self, counts: Counter[str], prompts: int, stages: int) -> None:
        if 2 * counts["two answers"] > prompts:
            warnings.warn(
                f"two answers, which are one pair and no curriculum, to {counts['two answers']} of "
                f"{counted(prompts, 'prompt')}; give more answers a prompt, or mode 'global'",
                stacklevel=4,
            )
        if stages < self.iterations:
            warnings.warn(f"there are pairs for {stages} of {self.iterations} stages", stacklevel=4)


def _margin(row: Mapping[str, Any], place: str) -> float | None:
    """By how much the chosen answer of a pair is rated higher, or None if the row does not say."""
    given = row.get("margin")
    if given is None:
        chosen, rejected = row.get("score_chosen"), row.get("score_rejected")
        given = None if chosen is None or rejected is None else float(chosen) - float(rejected)
    if given is None or given != given:
        return None
    if not 0 <= float(given) < float("inf"):
        raise BadInput(
            f"{place}: the margin is {given}; it should be finite and 0 or more: chosen is the better answer"
        )
    return float(given)


def _leads(pairs: list[Row], reference_gap: ReferenceGap | None) -> np.ndarray:
    if reference_gap is None:
        raise BadInput(
            "these stages are cut by the reference's log-probabilities; give reference_gap, or rows with ratings "
            "('responses' and 'scores', or 'margin')"
        )
    leads = np.asarray(reference_gap(pairs), dtype=np.float64)
    if leads.shape != (len(pairs),) or np.isinf(leads).any():
        raise BadInput(f"reference_gap should give one finite number, or NaN, a pair: {len(pairs)} of them")
    return leads


def _listed(counts: Mapping[str, int]) -> str:
    named = [f"{n} {reason}" for reason, n in counts.items() if n]
    return f" ({', '.join(named)})" if named else ""
