"""The pairs of one iteration of DNO-Prct out of its judged candidates, and those of earlier ones.

Direct Nash Optimization (2024, arXiv:2404.03715), section 5.1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.staged.candidates import Candidates
from polyculture.align.staged.dno_prct import DNOPrct
from polyculture.align.staged.judged_pairs import CATEGORIES, Scores, category, pair_filter, repeats
from polyculture.align.staged.stages import ROWS
from polyculture.errors import BadInput

Row = dict[str, Any]


def judged_rows(
    candidates: Sequence[Candidates], way: DNOPrct, scores: Scores, number: int
) -> tuple[list[Row], dict[str, Any]]:
    """Rows of pairs out of candidates, and what came of them.

    Args:
        candidates: of each prompt the samples, and the teacher's answer where there is one.
        way: which pairs are kept.
        scores: judges them.
        number: of the iteration.
    """
    judged = scores([one.prompt_text for one in candidates], [one.texts for one in candidates])
    points = _points(judged) if way.ranked else judged
    rows: list[Row] = []
    counts: Counter[str] = Counter()
    of_teacher: list[float] = []
    of_students: list[float] = []
    for one, given, raw in zip(candidates, points, judged, strict=True):
        if given is None or raw is None:
            counts["not judged"] += 1
            continue
        n = len(one.samples)
        of_students += given[:n].tolist()
        of_teacher += given[n:].tolist()
        losers = [i for i, text in enumerate(one.samples) if one.cut[i] or repeats(text)]
        counts["cut or repeating"] += len(losers)
        pairs = [
            (i, j)
            for i, j in pair_filter(given, one.teacher, rule=way.rule, losers=losers)
            if one.texts[i].strip() and one.texts[j].strip() and one.texts[i] != one.texts[j]
        ]
        counts["without a pair"] += not pairs
        for i, j in pairs:
            kind = category((i, j), one.teacher)
            counts[kind] += 1
            rows.append(
                {
                    "prompt": one.prompt,
                    "chosen": one.texts[i],
                    "rejected": one.texts[j],
                    "score_chosen": float(raw[i]),
                    "score_rejected": float(raw[j]),
                    "category": kind,
                    "iteration": number,
                }
            )
    students = [text for one in candidates for text in one.samples]
    teachers = [one.texts[one.teacher] for one in candidates if one.teacher is not None]
    every = [float(score) for given in judged if given is not None for score in given]
    about: dict[str, Any] = {
        "iteration": number,
        "prompts": len(candidates),
        "judged": len(candidates) - counts["not judged"],
        "pairs": len(rows),
        **{kind: counts[kind] for kind in CATEGORIES},
        **{name: counts[name] for name in ("not judged", "without a pair", "cut or repeating")},
        "best_score": max(every, default=None),
        "points_of_samples": mean_or_none(of_students),
        "points_of_teacher": mean_or_none(of_teacher),
        "words_of_samples": mean_or_none([len(text.split()) for text in students]),
        "words_of_teacher": mean_or_none([len(text.split()) for text in teachers]),
    }
    return rows, about


def pooled_pairs(out: Path | str) -> list[Row]:
    """The pairs that each iteration of a run made, each once: what DNO-Lookahead trains on, offline.

    Args:
        out: the folder of a finished run.

    Raises:
        BadInput: there is no run.
    """
    found = [rows_of_iteration(Path(out), t) for t in range(1, 1 + len(list(Path(out).glob("yield-*.json"))))]
    if not found:
        raise BadInput(f"{out}: there is no run of dno-prct in it")
    return [row for rows in found for row in rows]


def rows_of_iteration(out: Path, number: int) -> list[Row]:
    """The pairs that an iteration made itself, without what it saw again of earlier ones.

    Args:
        out: the folder of the run.
        number: of the iteration.
    """
    with (out / f"stage-{number}" / ROWS).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row for row in rows if row["iteration"] == number]


def _points(judged: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """Scores of any scale as points from 0 to 6: six times the share of all scores that are lower, ties halved."""
    every = np.sort(np.concatenate([given for given in judged if given is not None] or [np.zeros(0)]))

    def points(given: np.ndarray) -> np.ndarray:
        below = np.searchsorted(every, given, side="left")
        among = np.searchsorted(every, given, side="right")
        return 6 * (below + among) / (2 * len(every))

    return [None if given is None else points(given) for given in judged]


def mean_or_none(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing."""
    return float(np.mean(values)) if values else None
