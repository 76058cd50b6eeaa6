"""Approaches and personas for a task: which ways of solving it a model names, and which of them work.

Diversity of Thought Improves Reasoning Abilities of Large Language Models (2023, arXiv:2310.07088), section 3.1,
algorithm 1. The wording of the prompts and the defaults that the paper leaves open are our own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyculture.decode.answers import AnswerOf, answer_key, check
from polyculture.decode.trace import Cost, cost_of, total
from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Completion, Prompt, Sampling, as_text
from polyculture.progress import Progress, silent

NO_PERSONA = "none"
LONGEST_NAME = 60

_ASK_APPROACHES = """Name {b} different approaches that would solve questions like the one below. Reply with a list in \
exactly this form, names only:
Approach 1: <name>
Approach 2: <name>

Question: {question}"""

_ASK_PERSONAS = """Name {m} people or professions who would be good at questions like the one below. Reply with a list \
in exactly this form, names only:
Persona 1: <name>
Persona 2: <name>

Question: {question}"""

_LISTED = re.compile(r"^\s*(?:approach|persona)\s*\d+\s*:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)


def normalise_name(name: str) -> str:
    """An approach's name for counting: stripped, without a trailing dot, in lower case."""
    return name.strip().removesuffix(".").strip().lower()


def parse_names(text: str, most: int) -> list[str]:
    """The names in lines of the form "Approach 1: name", at most ``most``; longer than 60 characters is no name."""
    names = [found.strip("*\"' ") for found in _LISTED.findall(text)]
    return [name for name in names if normalise_name(name) and len(name) <= LONGEST_NAME][:most]


def frequent_approaches(calls: Sequence[Sequence[str]], n: int) -> tuple[list[str], dict[str, int]]:
    """The n approaches that most calls name.

    Args:
        calls: the names each call gave; a name counts once a call.
        n: how many to keep.

    Returns:
        The normalised names, most frequent first and ties by first appearance, and the count of every name.

    >>> frequent_approaches([["Algebra.", "Drawing"], ["algebra"]], 1)
    (['algebra'], {'algebra': 2, 'drawing': 1})
    """
    counts: Counter[str] = Counter()
    for names in calls:
        counts.update(name for name in dict.fromkeys(map(normalise_name, names)) if name)
    ranked = sorted(counts, key=lambda name: -counts[name])
    return ranked[:n], dict(counts)


def select_pairs(accuracy: Mapping[Any, float], size: int) -> list[Any]:
    """The ``size`` pairs with the highest validation accuracy, best first, ties in the order given.

    Args:
        accuracy: pair -> accuracy, in product order (persona-major).
        size: how many to keep.
    """
    return sorted(accuracy, key=lambda pair: -accuracy[pair])[:size]


def inference_cost(prompt_words: float, completion_words: float, price_in: float, price_out: float) -> float:
    """Dollars for a call, at 0.75 words a token (section 4).

    Args:
        prompt_words: words of the prompt.
        completion_words: words of the completion.
        price_in: dollars per 1000 prompt tokens.
        price_out: dollars per 1000 completion tokens.
    """
    return (prompt_words / 0.75 * price_in + completion_words / 0.75 * price_out) / 1000


def independent_majority(accuracies: Sequence[float]) -> float:
    """The probability that a strict majority of independent members is right: the tail of a Poisson binomial.

    It is what diverse approaches aim at; members that err together stay at the mean of their accuracies.

    Args:
        accuracies: (n,) accuracies in [0, 1], n >= 1. With even n a tie is no majority.

    Raises:
        BadInput: there is no member, or an accuracy is outside [0, 1].
    """
    if not len(accuracies) or not all(0 <= p <= 1 for p in accuracies):
        raise BadInput("accuracies should be at least one number, each in [0, 1]")
    right = np.ones(1)  # right[j]: probability that j of the members so far are right
    for p in accuracies:
        right = np.convolve(right, [1 - p, p])
    return float(right[len(accuracies) // 2 + 1 :].sum())


@dataclass(frozen=True)
class Pair:
    """A way to solve a task.

    Args:
        persona: who solves it; "none" for nobody in particular.
        approach: how; empty for no approach in particular.
        accuracy: share of the validation questions it got right, or None if it was not measured.
        examples: pairs of a question and its solution in this approach and persona.
    """

    persona: str = NO_PERSONA
    approach: str = ""
    accuracy: float | None = None
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ApproachBank:
    """The ways kept for a task, best first; reusable on similar tasks.

    Args:
        pairs: the kept pairs.
        counts: how many calls named each approach.
        accuracies: "persona|approach" -> validation accuracy, for every pair tried. Read them: a vote of weak pairs can
            be worse than the best pair alone.
        cost: what building it cost; it is paid once a task.
    """

    pairs: tuple[Pair, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    accuracies: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> ApproachBank:
        """A bank from JSON values, as ``dataclasses.asdict`` gives them."""
        pairs = tuple(Pair(**{**p, "examples": tuple((q, s) for q, s in p.get("examples", ()))}) for p in held["pairs"])
        return cls(pairs, held.get("counts", {}), held.get("accuracies", {}), Cost(**held.get("cost", {})))


def ask_approaches(llm: LLM, questions: Sequence[Prompt], b: int, *, seed: int, sampling: Sampling) -> list[Completion]:
    """One call a question for the names of b approaches."""
    prompts: list[Prompt] = [
        [{"role": "user", "content": _ASK_APPROACHES.format(b=b, question=as_text(q))}] for q in questions
    ]
    return [drawn[0] for drawn in llm.generate(prompts, sampling=sampling, seed=seed)]


def pair_prompt(pair: Pair, question: Prompt, answer_format: str) -> Prompt:
    """The prompt that has a question solved in one approach by one persona."""
    parts = []
    if pair.approach:
        parts.append(f"Solve the question with this approach: {pair.approach}. Think step by step.")
    else:
        parts.append("Think step by step.")
    parts += [f"Question: {q}\nSolution: {s}" for q, s in pair.examples]
    parts += [f"Question: {as_text(question)}", answer_format]
    messages = [{"role": "user", "content": "\n\n".join(parts)}]
    if pair.persona != NO_PERSONA:
        messages.insert(0, {"role": "system", "content": f"You are {pair.persona}."})
    return messages


def build_bank(
    llm: LLM,
    questions: Sequence[Prompt],
    validation: Sequence[tuple[Prompt, str]],
    *,
    size: int = 5,
    b: int = 5,
    c: int = 10,
    n: int = 5,
    m: int = 3,
    examples: Sequence[tuple[str, str]] = (),
    answer_of: str | AnswerOf = "final-number",
    verifier: Callable[[Prompt, str], bool] | None = None,
    answer_format: str = "End with a line 'A: ' followed by the final answer only.",
    sampling: Sampling = Sampling(max_tokens=512, temperature=0.0),  # noqa: B008 - frozen
    seed: int = 0,
    progress: Progress = silent,
) -> ApproachBank:
    """Find the approaches and personas that suit a task, and keep the pairs that solve it best (algorithm 1).

    Args:
        llm: the model.
        questions: questions of the task, from which c are drawn.
        validation: questions with their answers; never test questions. The paper names no number; 20 is ours.
        size: pairs kept; 5 for maths, 3 for planning and commonsense in the paper.
        b: approaches asked for in a call, 1 to 5.
        c: calls.
        n: approaches kept.
        m: personas asked for; "none" is always tried as well.
        examples: worked examples; each is rewritten in the approach and persona of every kept pair.
        answer_of: how answers are read.
        verifier: ``verifier(question, response)`` says whether it is right, where answers can't be compared as keys.
        answer_format: what tells the model how to end.
        sampling: of the solving calls; naming is drawn at temperature 0.7.
        seed: the seed.
        progress: told of each pair.

    Raises:
        BadInput: there are no questions or no validation questions, or b is not in 1..5.
    """
    if not questions or not validation:
        raise BadInput("a bank of approaches needs questions of the task and validation questions with answers")
    if not 1 <= b <= 5:
        raise BadInput(f"b should be between 1 and 5 approaches a call, not {b}")
    read = answer_key(answer_of)
    rng = np.random.default_rng(seed)
    naming = Sampling(max_tokens=256, temperature=0.7)
    drawn = [questions[int(i)] for i in rng.integers(len(questions), size=c)]
    replies = ask_approaches(llm, drawn, b, seed=seed, sampling=naming)
    costs = [cost_of(reply) for reply in replies]
    approaches, counts = frequent_approaches([parse_names(reply.text, b) for reply in replies], n)
    asked: Prompt = [{"role": "user", "content": _ASK_PERSONAS.format(m=m, question=as_text(drawn[0]))}]
    personas = [NO_PERSONA]
    if m > 0:
        reply = llm.generate([asked], sampling=naming, seed=seed)[0][0]
        costs.append(cost_of(reply))
        personas += [p for p in dict.fromkeys(parse_names(reply.text, m)) if p != NO_PERSONA]
    tried = [Pair(persona, approach) for persona in personas for approach in approaches or [""]]
    accuracy: dict[Pair, float] = {}
    for done, pair in enumerate(tried):
        progress("trying approaches", done, len(tried))
        prompts = [pair_prompt(pair, question, answer_format) for question, _ in validation]
        solved = [s[0] for s in llm.generate(prompts, sampling=sampling, seed=seed)]
        costs += [cost_of(s) for s in solved]
        right = [
            verifier(question, s.text) if verifier else check(read(s.text), answer, answer_of)
            for (question, answer), s in zip(validation, solved, strict=True)
        ]
        accuracy[pair] = float(np.mean(right))
    kept = []
    for pair in select_pairs(accuracy, size):
        rewritten, spent = _augment(llm, pair, examples, sampling, seed)
        costs += spent
        kept.append(Pair(pair.persona, pair.approach, accuracy[pair], rewritten))
    progress("trying approaches", len(tried), len(tried))
    names = {f"{p.persona}|{p.approach}": a for p, a in accuracy.items()}
    return ApproachBank(tuple(kept), counts, names, total(costs))


def _augment(
    llm: LLM, pair: Pair, examples: Sequence[tuple[str, str]], sampling: Sampling, seed: int
) -> tuple[tuple[tuple[str, str], ...], list[Cost]]:
    """Worked examples rewritten in the approach and persona of a pair (algorithm 1, augment)."""
    if not examples:
        return (), []
    prompts: list[Prompt] = []
    for question, solution in examples:
        who = "" if pair.persona == NO_PERSONA else f" as {pair.persona} would"
        request = (
            f"Rewrite the solution with this approach: {pair.approach or 'step by step'},{who} with the same answer."
        )
        content = f"{request}\n\nQuestion: {question}\nSolution: {solution}\n\nReply with the rewritten solution only."
        prompts.append([{"role": "user", "content": content}])
    replies = [drawn[0] for drawn in llm.generate(prompts, sampling=sampling, seed=seed)]
    rewritten = tuple((q, r.text.strip() or s) for (q, s), r in zip(examples, replies, strict=True))
    return rewritten, [cost_of(reply) for reply in replies]
