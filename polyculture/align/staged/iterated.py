"""DNO-Prct in the loop: a model samples, is judged, learns from what beat what, and begins again as its own reference.

Direct Nash Optimization (2024, arXiv:2404.03715), Algorithm 2. Each iteration is a stage of
:func:`polyculture.align.staged.stages.train_stages`; its pairs are in the stage's ``rows.jsonl``. Beside the stages lie
``candidates-T.jsonl``, what was sampled, and ``yield-T.json``, what came of it; both are found again when a stopped run
is started anew. At the end every iterate answers the held-out prompts, and the best one is named: where preferences are
cyclic the last need not be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.staged.candidates import Asked, Candidates, fitting, sampled_candidates
from polyculture.align.staged.dno_prct import DNOPrct
from polyculture.align.staged.iteration_pairs import Row, judged_rows, mean_or_none, rows_of_iteration
from polyculture.align.staged.judged_pairs import Scores, make_scores, with_replay
from polyculture.align.staged.stages import StagedRun, TrainOne, model_identity, train_stages
from polyculture.errors import BadInput
from polyculture.files import fingerprint, plain, write_json
from polyculture.llm.base import Sampling, sample_seed
from polyculture.progress import Progress, silent
from polyculture.wording import counted


@dataclass(frozen=True)
class IteratedRun:
    """A finished run.

    Args:
        staged: its stages.
        yields: of each iteration, how many pairs of which kind, mean scores and lengths.
        validation: of the first model (number 0) and of each iterate, the mean score on held-out prompts, the win rate
            against the first model, and the mean number of words; empty if they were not compared.
        best: the number of the iterate with the highest mean score, the last one if they were not compared.
    """

    staged: StagedRun
    yields: tuple[Mapping[str, Any], ...]
    validation: tuple[Mapping[str, Any], ...]
    best: int

    @property
    def model(self) -> Path:
        """The best iterate's folder."""
        return self.staged.stages[self.best - 1].model

    def about(self) -> dict[str, Any]:
        """What to say of it, in plain values."""
        found: dict[str, Any] = plain(
            {"way": "dno-prct", "yields": self.yields, "validation": self.validation, "best": self.best}
        )
        return found


def iterate(
    way: DNOPrct,
    rows: Sequence[Mapping[str, Any]],
    held_out: Sequence[Mapping[str, Any]],
    train_one: TrainOne,
    out: Path | str,
    *,
    model: Path | str,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    progress: Progress = silent,
    **staging: Any,
) -> IteratedRun:
    """Run all iterations, or go on where a stopped run was.

    Args:
        way: how.
        rows: with a prompt, and the teacher's answer as "chosen" or "completion" where there is one.
        held_out: rows whose prompts the iterates are compared on; may be empty.
        train_one: trains one stage, see :data:`polyculture.align.staged.stages.TrainOne`.
        out: the folder of the run.
        model: the first policy.
        seed: of the division of the prompts, of the samples and of the judge.
        settings: what else the result depends on.
        device: where to sample.
        dtype: to load a model in for sampling.
        batch_size: sequences sampled together.
        progress: told the samples and the stages.
        staging: anything else :func:`polyculture.align.staged.stages.train_stages` takes.

    Raises:
        BadInput: there are fewer prompts than iterations, or an iteration yields no pair.
    """
    out = Path(out)
    asked = fitting(Asked.of(rows, "training data"), str(model), "prompt")
    if len(asked) < way.iterations:
        raise BadInput(
            f"{counted(way.iterations, 'iteration')} of {counted(len(asked), 'prompt')}: each needs one of its own; "
            "give more data, or fewer iterations"
        )
    if way.variant != "prct" and not any(one.teacher for one in asked):
        raise BadInput(f"in the variant {way.variant} the teacher wins, but no row has its answer ('chosen')")
    scores = make_scores(way.judge, seed=seed)
    parts = np.array_split(np.random.default_rng([seed, 0]).permutation(len(asked)), way.iterations)
    sampler = _Sampler(way, out, seed, device, dtype, batch_size, progress)

    def make_rows(number: int, current: str) -> list[Row]:
        those = [asked[i] for i in np.sort(parts[number - 1]).tolist()]
        found = sampler.candidates(f"candidates-{number}", current, those, way.samples, way.sampling, number)
        new, about = judged_rows(found, way, scores, number)
        write_json(out / f"yield-{number}.json", about)
        if not new:
            raise BadInput(
                f"iteration {number}: no pair has a clear winner (judged: {about['judged']} of "
                f"{counted(about['prompts'], 'prompt')}; the best score: {about['best_score']}; samples that can't "
                f"win, as they were cut or repeat themselves: {about['cut or repeating']}); raise max_new_tokens, "
                "lower min_positive or the margins, or count points as ranked"
            )
        earlier = [rows_of_iteration(out, k) for k in range(1, number)]
        return with_replay(new, earlier, np.random.default_rng([seed, number]), share=way.replay)

    staged = train_stages(
        make_rows,
        train_one,
        out,
        model=model,
        iterations=way.iterations,
        settings={
            "way": way.settings(),
            "seed": seed,
            "prompts": fingerprint([one.key for one in asked]),
            **(settings or {}),
        },
        progress=progress,
        **staging,
    )
    yields = tuple(_yield_of(out, t) for t in range(1, way.iterations + 1))
    models = [str(model), *(str(stage.model) for stage in staged.stages)]
    main = int(os.environ.get("RANK", "0")) == 0  # one process asks the judge; the others have nothing left to do
    validation = _compared(models, held_out, way, scores, sampler) if main and held_out and way.validation else ()
    best = way.iterations
    if validation:
        best = 1 + int(np.argmax([one["score"] for one in validation[1:]]))
    return IteratedRun(staged, yields, validation, best)


@dataclass(frozen=True)
class _Sampler:
    """Samples candidates, or finds them again."""

    way: DNOPrct
    out: Path
    seed: int
    device: str | None
    dtype: str
    batch_size: int
    progress: Progress

    def candidates(
        self, name: str, model: str, asked: Sequence[Asked], n: int, sampling: Sampling, number: int
    ) -> list[Candidates]:
        return sampled_candidates(
            asked,
            model,
            n,
            sampling,
            path=self.out / f"{name}.jsonl",
            identity=model_identity(model),
            seed=sample_seed(self.seed, name, number),
            device=self.device,
            dtype=self.dtype,
            batch_size=self.batch_size,
            progress=self.progress,
        )


def _compared(
    models: Sequence[str],
    held_out: Sequence[Mapping[str, Any]],
    way: DNOPrct,
    scores: Scores,
    sampler: _Sampler,
) -> tuple[Mapping[str, Any], ...]:
    """Mean score, win rate against the first model and length of every iterate's answers to the held-out prompts."""
    those = fitting(Asked.of(held_out, "held-out data"), models[0], "held-out prompt")
    asked = [one.without_teacher() for one in those[: way.validation]]
    answers = [
        [one.samples[0] for one in sampler.candidates(f"validation-{t}", model, asked, 1, way.sampling, 0)]
        for t, model in enumerate(models)
    ]
    judged = scores([one.text for one in asked], [list(those) for those in zip(*answers, strict=True)])
    table = np.asarray([given for given in judged if given is not None]).reshape(-1, len(models))
    if not len(table):
        return ()
    first = table[:, :1]
    wins = (table > first).mean(axis=0) + (table == first).mean(axis=0) / 2
    return tuple(
        {
            "iteration": t,
            "score": float(table[:, t].mean()),
            "win_rate": float(wins[t]),
            "words": mean_or_none([len(text.split()) for text in answers[t]]),
            "prompts": len(table),
        }
        for t in range(len(models))
    )


def _yield_of(out: Path, number: int) -> Mapping[str, Any]:
    path = out / f"yield-{number}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"iteration": number}
    return found
