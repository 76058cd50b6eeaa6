"""Symbolic mixture-of-experts: route each question to models by the skills it names, and aggregate their answers.

Symbolic Mixture-of-Experts: Adaptive Skill-based Routing for Heterogeneous Reasoning (2025, arXiv:2503.05641).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.decode.answers import AnswerOf, answer_key, check
from polyculture.decode.base import (
    Answer,
    Candidate,
    Cost,
    Decision,
    Step,
    Strategy,
    check_counts,
    checked_seed,
    cost_of,
    prompt_rng,
    sub_seed,
    total,
)
from polyculture.decode.experts import (
    Experts,
    Skills,
    aggregation_items,
    aggregation_prompt,
    ask_keywords,
    question_prompt,
)
from polyculture.decode.majority import vote
from polyculture.decode.rows import read_object
from polyculture.decode.scores import with_keys
from polyculture.decode.skills import (
    global_strength,
    local_scores,
    map_keywords,
    recruit_probabilities,
    skill_profile,
    trim_replacement,
)
from polyculture.errors import BadInput, unknown
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Completion, Prompt, Sampling
from polyculture.progress import Progress, silent


@dataclass(frozen=True)
class SymbolicMoE(Strategy):
    """Recruit n experts for each question by the skills it names; one aggregator writes the answer from theirs.

    :meth:`fit` learns the experts' profiles and chooses the aggregator on validation questions. Prompts that are
    answered together are grouped by expert, so that each model is loaded once, and one at a time. Without profiles
    experts are recruited at random; without experts the one model given is the only expert. Candidates that exist
    already are aggregated as they are, or put to a vote where no model is given.

    Args:
        experts: name -> function that loads the model; None takes the model given as the only expert.
        skills: what :meth:`fit` learnt: a Skills, its JSON form, or a file of it.
        combine: "aggregator", or "vote" (a majority vote of the experts' answers).
        keyword_samples: times a question is asked for keywords; those that come up more than once are kept.
        strength_temperature: strengths are raised to its inverse; 0.5 squares them.
        with_replacement: an expert drawn twice answers twice; False draws each once (all, if n is more than there are).
        trim: experts with a smaller share of a batch's slots are replaced by frequent ones; 0 replaces none. With it,
            an answer depends on the other prompts of its batch.
        embedder: maps keywords that no profile holds to the nearest that one does.
        max_chars: longest part of a solution shown to the aggregator, counted from its end; None shows all.
        answer_of: how answers are read.
        answer_format: what tells experts and aggregator how to end.
    """

    name: ClassVar[str] = "symbolic-moe"
    experts: Experts | None = None
    skills: Skills | Mapping[str, Any] | str | None = None
    combine: Literal["aggregator", "vote"] = "aggregator"
    keyword_samples: int = 5
    strength_temperature: float = 0.5
    with_replacement: bool = True
    trim: float = 0.0
    embedder: str = "minilm"
    max_chars: int | None = None
    answer_of: str | AnswerOf = "final-number"
    answer_format: str = "Reason step by step, then end with a line 'A: ' followed by the final answer only."

    def __post_init__(self) -> None:
        if isinstance(self.skills, str):
            object.__setattr__(self, "skills", read_object(self.skills, "the skills of experts"))
        if isinstance(self.skills, Mapping):
            held = self.skills
            object.__setattr__(self, "skills", Skills(**{**held, "cost": Cost(**held.get("cost", {}))}))

    def params(self) -> dict[str, Any]:
        """The hyper-parameters as JSON values; experts are given by name."""
        return {**super().params(), "experts": None if self.experts is None else sorted(self.experts)}

    def fit(
        self,
        llm: LLM,
        validation: Sequence[tuple[Prompt, str]],
        *,
        sampling: Sampling = DEFAULT_SAMPLING,
        seed: int | None = None,
        progress: Progress = silent,
    ) -> SymbolicMoE:
        """This strategy with the skills of its experts learnt.

        Args:
            llm: the model that names keywords.
            validation: questions with their answers; never test questions.
            sampling: of experts and aggregators; the paper's temperature is 0.7.
            seed: the seed.
            progress: told of each expert.

        Raises:
            BadInput: there are no experts or no validation questions.
        """
        if not self.experts or not validation:
            raise BadInput("learning skills needs experts and validation questions with their answers")
        seed = checked_seed(seed)
        questions = [question for question, _ in validation]
        keywords, spent = ask_keywords(llm, questions, self.keyword_samples, sub_seed(seed, 0))
        costs = [cost for question_costs in spent for cost in question_costs]
        read = answer_key(self.answer_of)
        names = sorted(self.experts)
        replies: dict[str, list[Completion]] = {}
        right: dict[str, list[bool]] = {}
        for done, name in enumerate(names):
            progress("learning skills", done, 2 * len(names))
            asked = [question_prompt(question, self.answer_format) for question in questions]
            drawn = self.experts[name]().generate(asked, sampling=sampling, seed=sub_seed(seed, 1))
            replies[name] = [completions[0] for completions in drawn]
            costs += [cost_of(reply) for reply in replies[name]]
            right[name] = [
                check(read(r.text), ref, self.answer_of) for r, (_, ref) in zip(replies[name], validation, strict=True)
            ]
        profiles = {name: skill_profile(keywords, right[name]) for name in names}
        items = aggregation_items(validation, replies, right, np.random.default_rng(seed))
        scored: dict[str, float] = {}
        for done, name in enumerate(names if items else ()):
            progress("choosing the aggregator", len(names) + done, 2 * len(names))
            asked = [
                aggregation_prompt(question, solutions, self.answer_format, self.max_chars)
                for question, solutions, _ in items
            ]
            drawn = self.experts[name]().generate(asked, sampling=sampling, seed=sub_seed(seed, 2))
            costs += [cost_of(completions[0]) for completions in drawn]
            hits = [
                check(read(completions[0].text), reference, self.answer_of)
                for completions, (_, _, reference) in zip(drawn, items, strict=True)
            ]
            scored[name] = float(np.mean(hits))
        skills = Skills(
            {name: profile.scores for name, profile in profiles.items()},
            max(scored, key=lambda name: scored[name]) if scored else None,
            {name: profile.accuracy for name, profile in profiles.items()},
            scored,
            len(items),
            dict(Counter(keyword for own in keywords for keyword in own)),
            total(costs),
        )
        return replace(self, skills=skills)

    def recruitment(self, keywords: Sequence[str], names: Sequence[str]) -> tuple[dict[str, float], list[str]]:
        """Expert -> probability of being drawn for a question with these keywords, and the keywords as mapped."""
        held = self.skills.profiles if isinstance(self.skills, Skills) else {}
        profiles = {name: held.get(name, {}) for name in sorted(names)}
        available = sorted({keyword for profile in profiles.values() for keyword in profile})
        mapped = list(keywords)
        unseen = [keyword for keyword in keywords if keyword not in set(available)]
        if unseen and available:
            from polyculture.space.embedders import make_embedder

            embedder = make_embedder(self.embedder)
            near = map_keywords(embedder.embed(unseen), embedder.embed(available), available)
            nearest = dict(zip(unseen, near, strict=True))
            mapped = [nearest.get(keyword, keyword) for keyword in keywords]
        _, strength = global_strength(profiles, self.strength_temperature)
        return recruit_probabilities(local_scores(profiles, mapped), strength), mapped

    def answer_batch(
        self,
        llm: LLM,
        prompts: Sequence[Prompt],
        n: int,
        *,
        k: int = 1,
        sampling: Sampling = DEFAULT_SAMPLING,
        seed: int | None = None,
    ) -> list[Answer]:
        """Answer prompts together: keywords, recruitment, one batch an expert, then aggregation.

        ``llm`` names the keywords, and aggregates where no expert was chosen for it.
        """
        check_counts(n, k)
        seed = checked_seed(seed)
        experts: Experts = self.experts or {llm.name: lambda: llm}
        steps: list[list[Step]] = [[] for _ in prompts]
        keywords: list[list[str]] = [[] for _ in prompts]
        if isinstance(self.skills, Skills) and len(experts) > 1:
            keywords, spent = ask_keywords(llm, prompts, self.keyword_samples, sub_seed(seed, 0))
            for own, found, costs in zip(steps, keywords, spent, strict=True):
                own.append(Step("keywords", total(costs), {"keywords": found}))
            if not all(keywords):
                warnings.warn("a question has no keyword; its experts are drawn at random", stacklevel=2)
        team = self._recruit(prompts, keywords, list(experts), n, seed, steps)
        candidates = self._solve(experts, prompts, team, sampling, seed)
        keyed = [with_keys(own, self.answer_of) for own in candidates]
        return self._conclude(llm, experts, prompts, keyed, steps, k, sampling, seed)

    def _recruit(
        self,
        prompts: Sequence[Prompt],
        keywords: Sequence[Sequence[str]],
        names: Sequence[str],
        n: int,
        seed: int,
        steps: Sequence[list[Step]],
    ) -> list[list[str]]:
        team = []
        for prompt, own, done in zip(prompts, keywords, steps, strict=True):
            chances, mapped = self.recruitment(own, names)
            eligible = sorted(name for name, p in chances.items() if p > 0)
            size = n if self.with_replacement else min(n, len(eligible))
            p = np.array([chances[name] for name in eligible])
            drawn = prompt_rng(seed, prompt).choice(len(eligible), size, replace=self.with_replacement, p=p / p.sum())
            team.append([eligible[int(i)] for i in drawn])
            done.append(Step("recruit", details={"mapped": mapped, "probabilities": chances, "experts": team[-1]}))
        if self.trim > 0:
            slots = Counter(name for own in team for name in own)
            for prompt, own in zip(prompts, team, strict=True):
                rng = prompt_rng(sub_seed(seed, 3), prompt)
                for slot, name in enumerate(own):
                    chances = trim_replacement(slots, name, self.trim)
                    own[slot] = str(rng.choice(sorted(chances), p=[chances[c] for c in sorted(chances)]))
        return team

    def _solve(
        self, experts: Experts, prompts: Sequence[Prompt], team: Sequence[Sequence[str]], sampling: Sampling, seed: int
    ) -> list[list[Candidate]]:
        """Each expert once over all of its questions; the model is let go before the next is loaded."""
        drawn: list[dict[str, list[Completion]]] = [{} for _ in prompts]
        for name in sorted({name for own in team for name in own}):
            slots = {i: own.count(name) for i, own in enumerate(team) if name in own}
            model = experts[name]()
            for times in sorted(set(slots.values())):
                due = [i for i, m in slots.items() if m == times]
                asked = [question_prompt(prompts[i], self.answer_format) for i in due]
                for i, completions in zip(
                    due, model.generate(asked, n=times, sampling=sampling, seed=seed), strict=True
                ):
                    drawn[i][name] = list(completions)
            del model
        return [
            [Candidate.of(drawn[i][name].pop(0), place, expert=name) for place, name in enumerate(own)]
            for i, own in enumerate(team)
        ]

    def _conclude(
        self,
        llm: LLM,
        experts: Experts,
        prompts: Sequence[Prompt],
        candidates: Sequence[list[Candidate]],
        steps: Sequence[list[Step]],
        k: int,
        sampling: Sampling,
        seed: int,
    ) -> list[Answer]:
        if self.combine == "vote":
            voted = [vote(own, k) for own in candidates]
            return [
                self._finish(own, decision, prompt, seed, done)
                for own, decision, prompt, done in zip(candidates, voted, prompts, steps, strict=True)
            ]
        chosen = self.skills.aggregator if isinstance(self.skills, Skills) else None
        if chosen is not None and chosen not in experts:
            raise unknown("expert", chosen, experts)
        due = [i for i, own in enumerate(candidates) if len(own) > 1]
        replies: dict[int, Completion] = {}
        if due:
            model = experts[chosen]() if chosen is not None else llm
            asked = [self._asked(prompts[i], candidates[i]) for i in due]
            drawn = model.generate(asked, sampling=sampling, seed=sub_seed(seed, 2))
            replies = {i: completions[0] for i, completions in zip(due, drawn, strict=True)}
        answers = []
        for i, prompt in enumerate(prompts):
            decision = self._aggregated(candidates[i], replies.get(i), k)
            answers.append(self._finish(candidates[i], decision, prompt, seed, [*steps[i], *decision.steps]))
        return answers

    def _aggregated(self, candidates: Sequence[Candidate], reply: Completion | None, k: int) -> Decision:
        if reply is None:
            return replace(vote(candidates, k), why="one expert answered")
        step = Step("aggregate", cost_of(reply), {"aggregator": reply.model, "reply": reply.text})
        text = reply.text.rsplit("</think>", 1)[-1].strip()
        if answer_key(self.answer_of)(text) is None:
            voted = vote(candidates, k)
            return replace(voted, why=f"the aggregator gave no answer; {voted.why}", steps=[step])
        return Decision([], f"{reply.model} aggregated {len(candidates)} solutions", steps=[step], text=text)

    def _asked(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Prompt:
        return aggregation_prompt(prompt, [c.text for c in candidates], self.answer_format, self.max_chars)

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return with_keys(candidates, self.answer_of), []

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        if self.combine == "vote" or llm is None or len(candidates) == 1:
            return vote(candidates, k)
        asked = self._asked(prompt, candidates)
        reply = llm.generate([asked], sampling=Sampling(max_tokens=1024, temperature=0.7), seed=sub_seed(seed, 2))[0][0]
        return self._aggregated(candidates, reply, k)
