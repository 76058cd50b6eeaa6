"""Policies compared by outputs that are there already: each one's answers to the same prompts, wherever they are from.

The measurement of "Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023) without its training.
Every policy is compared with the first one. All must have been sampled at one temperature and top-p, or the comparison
means nothing; nobody can tell that from the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.align.data.examples import prompt_text
from polyculture.align.watching.measures import Reward
from polyculture.errors import BadInput
from polyculture.progress import Progress, silent
from polyculture.reading import read_pool
from polyculture.studies.policy_comparison import (
    Measures,
    Place,
    Policy,
    claims_against,
    length_notes,
    measured,
    paired_win_values,
    win_values,
)
from polyculture.studies.rlhf_findings import Found

SHOWN_PROMPT = 60
"""Characters of a prompt in a message."""


@dataclass(frozen=True)
class Outputs:
    """One policy's outputs, by prompt.

    Args:
        responses: prompt -> texts, two or more.
        scores: prompt -> a score of each text; None where there are none.
        references: prompt -> a reference answer; may be empty.
        reference_scores: prompt -> its score; may be empty.
    """

    responses: dict[str, list[str]]
    scores: dict[str, list[float]] | None
    references: dict[str, str]
    reference_scores: dict[str, float]


def read_outputs(source: Any, *, progress: Progress = silent) -> Outputs:
    """Read a policy's outputs.

    Args:
        source: a file, a folder, a hub id, or rows. A row has a ``prompt`` and ``responses``, a list of texts, with
            ``scores`` if there are any; or a ``prompt``, one ``response`` and perhaps its ``score``, and rows of one
            prompt go together. ``reference``, an answer to win against, and ``reference_score`` may be there too.
        progress: told the rows.

    Raises:
        BadInput: a row lacks a prompt or responses, or has another number of scores than of responses.
    """
    pool = read_pool(source, need_text=False, progress=progress)
    found, scores = dict[str, list[str]](), dict[str, list[float]]()
    references, reference_scores = dict[str, str](), dict[str, float]()
    for i, row in enumerate((row for block in pool.records.blocks() for row in block), start=1):
        place = f"{source if isinstance(source, str) else 'outputs'}, row {i}"
        if row.get("prompt") is None or (row.get("responses") is None and row.get("response") is None):
            raise BadInput(f"{place}: it should have 'prompt', and 'responses' (a list of texts) or 'response'")
        prompt = prompt_text(row["prompt"])
        texts = row["responses"] if row.get("responses") is not None else [row["response"]]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BadInput(f"{place}: 'responses' should be a list of texts, and 'response' a text")
        found.setdefault(prompt, []).extend(texts)
        given = row.get("scores") if row.get("responses") is not None else row.get("score")
        if given is not None:
            held = _numbers(given if isinstance(given, list) else [given], place)
            if len(held) != len(texts):
                raise BadInput(f"{place}: {len(held)} scores of {len(texts)} responses; give one each")
            scores.setdefault(prompt, []).extend(held)
        if row.get("reference") is not None:
            references[prompt] = str(row["reference"])
        if row.get("reference_score") is not None:
            reference_scores[prompt] = _numbers([row["reference_score"]], place)[0]
    if scores and any(len(scores.get(prompt, ())) != len(texts) for prompt, texts in found.items()):
        raise BadInput(f"{source if isinstance(source, str) else 'outputs'}: some responses have scores and some none")
    return Outputs(found, scores or None, references, reference_scores)


def compare_outputs(
    inside: Mapping[str, Outputs],
    outside: Mapping[str, Outputs] | None = None,
    *,
    judge: Reward | None = None,
    judge_name: str = "",
    measures: Measures | None = None,
    progress: Progress = silent,
) -> Found:
    """Compare policies with the first of them: wins and diversity, in and out of distribution.

    A response wins against the prompt's reference answer; where the first policy's prompts have none, against the first
    policy's responses to the same prompt, every one with every one.

    Args:
        inside: name -> outputs on prompts as in training, two policies or more, the same prompts for all.
        outside: the same on shifted prompts.
        judge: scores (prompts, responses); None takes the scores that are there.
        judge_name: what it is called.
        measures: of diversity; None takes the paper's metrics without embeddings.
        progress: told what is judged.

    Raises:
        BadInput: there are fewer than two policies or prompts, prompts differ, a prompt has one response, or there is
            nothing to count wins with.
    """
    places: dict[Place, Mapping[str, Outputs]] = {"inside": inside}
    if outside:
        places["outside"] = outside
    names = list(inside)
    if len(names) < 2:
        raise BadInput("a comparison needs two policies or more")
    if outside and set(outside) != set(inside):
        raise BadInput(f"the policies {', '.join(inside)} should have outputs on shifted prompts too, or none of them")
    if judge is None and any(one.scores is None for held in places.values() for one in held.values()):
        raise BadInput("there is nothing to count wins with; name a judge (--judge), or give every response a score")
    first, notes = names[0], list[str]()
    K = min(len(texts) for held in places.values() for one in held.values() for texts in one.responses.values())
    longest = max(len(texts) for held in places.values() for one in held.values() for texts in one.responses.values())
    if K < 2:
        raise BadInput("a prompt has a single response; diversity needs two or more for every prompt of every policy")
    if longest > K:
        notes.append(f"Prompts have {K} to {longest} responses; the first {K} of each are compared.")
    prompts = {place: _same_prompts(held) for place, held in places.items()}
    texts = {
        (name, place): [held[name].responses[prompt][:K] for prompt in prompts[place]]
        for place, held in places.items()
        for name in names
    }
    diversity = (measures or Measures()).of(texts)
    by_place: dict[str, dict[Place, Any]] = {name: {} for name in names}
    for place, held in places.items():
        asked = prompts[place]
        scores = {}
        for i, name in enumerate(names):
            progress(f"judging {name}", i, len(names))
            scores[name] = _scores(held[name], asked, texts[name, place], judge)
        goal = _reference_scores(held[first], asked, judge)
        against = f"{first}'s responses" if goal is None else "the reference answers"
        notes.append(f"Wins {_WHERE[place]} are against {against}, on {len(asked)} prompts with {K} responses each.")
        for name in names:
            wins = paired_win_values(scores[name], scores[first]) if goal is None else win_values(scores[name], goal)
            by_place[name][place] = measured(
                wins, scores[name].mean(axis=1), texts[name, place], diversity[name, place]
            )
    policies = {name: Policy(name, by_place[name]) for name in names}
    claims = [claim for name in names[1:] for claim in claims_against(policies, name, first)]
    notes += [*length_notes(policies), "Intervals are over prompts; other trainings of the policies may differ more."]
    examples = [
        (prompts[place][0], {name: texts[name, place][0] for name in names}) for place in places
    ]  # one prompt of either kind
    judged = judge_name or ("the scores in the data" if judge is None else "the judge")
    return Found(policies, claims, None, None, judged, None, {}, [], notes, examples)


_WHERE: dict[Place, str] = {"inside": "in distribution", "outside": "out of distribution"}


def _same_prompts(held: Mapping[str, Outputs]) -> list[str]:
    first, *others = held
    prompts = list(held[first].responses)
    for name in others:
        missing = [prompt for prompt in prompts if prompt not in held[name].responses]
        more = [prompt for prompt in held[name].responses if prompt not in held[first].responses]
        if missing or more:
            one = (missing or more)[0][:SHOWN_PROMPT]
            raise BadInput(
                f"{first} and {name} should have the same prompts: {name} lacks {len(missing)} and has {len(more)} "
                f"more, such as '{one}'"
            )
    if len(prompts) < 2:
        raise BadInput(f"there is {len(prompts)} prompt; an interval over prompts needs two or more")
    return prompts


def _scores(held: Outputs, prompts: Sequence[str], texts: Sequence[Sequence[str]], judge: Reward | None) -> np.ndarray:
    """(prompts, K) scores of the responses."""
    if judge is None:
        assert held.scores is not None
        return np.array([held.scores[prompt][: len(own)] for prompt, own in zip(prompts, texts, strict=True)])
    flat = [(prompt, text) for prompt, own in zip(prompts, texts, strict=True) for text in own]
    given = judge([prompt for prompt, _ in flat], [text for _, text in flat])
    return np.asarray(given, dtype=np.float64).reshape(len(prompts), -1)


def _reference_scores(held: Outputs, prompts: Sequence[str], judge: Reward | None) -> np.ndarray | None:
    """(prompts,) scores of the reference answers, or None where there is none."""
    found = held.reference_scores if judge is None else held.references
    if not found:
        return None
    lacking = [prompt for prompt in prompts if prompt not in found]
    if lacking:
        what = "reference_score" if judge is None else "reference"
        raise BadInput(f"{len(lacking)} prompts have no '{what}' and others do, such as '{lacking[0][:SHOWN_PROMPT]}'")
    if judge is None:
        return np.array([held.reference_scores[prompt] for prompt in prompts])
    return np.asarray(judge(prompts, [held.references[prompt] for prompt in prompts]), dtype=np.float64)


def _numbers(given: Sequence[Any], place: str) -> list[float]:
    try:
        found = [float(value) for value in given]
    except (TypeError, ValueError) as error:
        raise BadInput(f"{place}: a score is no number ({error})") from error
    if not np.isfinite(found).all():
        raise BadInput(f"{place}: a score is not finite")
    return found
