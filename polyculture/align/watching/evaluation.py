"""One evaluation of a policy in training: reward, diversity, likelihoods, divergence from the reference.

The metrics of one evaluation, by the name under which they are kept and (after ``watch/``) logged. Samples are the
policy's own, on held-out prompts; entropies, masses and divergences are of its whole next-token distribution at
temperature 1, at the positions of samples, by token unless it says otherwise.

======================== ===============================================================================================
reward                   mean of the samples' rewards; with ``reward_low`` and ``reward_high``, a 95 % interval over
                         prompts
entropy                  of the next token, in nats
top_k_entropy            of the k likeliest next tokens, renormalised, in bits; with their mass ``top_k_mass``
reverse_kl               KL(policy || reference) at the policy's samples, nats a token
reverse_kl_sample        the same summed over a sample: estimates the divergence of whole answers, without bias
forward_kl               KL(reference || policy) at the reference's own samples, nats a token
forward_kl_sample        the same summed over a sample of the reference: estimates that of whole answers
forward_kl_at_policy     KL(reference || policy) at the policy's samples, nats a token: not that of whole answers
vendi_*, ead_*,          diversity of the samples of one prompt (``_prompt``) and of the first samples of all prompts
distinct_*               (``_across``); see :func:`polyculture.align.watching.measures.diversity_measures`
length, ended            tokens of a sample, and the share of samples that ended before ``max_new_tokens``
chosen, rejected         mean over held-out pairs of the log-likelihood a token; ``chosen_likelier`` is the share of
                         pairs whose chosen answer has the higher one
======================== ===============================================================================================

Answers are cut at ``max_new_tokens``, so what is said of whole answers is said of their beginnings.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from polyculture.align.watching.measures import Reward, diversity_measures, reward_measures
from polyculture.align.watching.ranks import Ranks
from polyculture.align.watching.samples import (
    Reading,
    Tokens,
    context_of,
    end_tokens,
    pad_token,
    read_completions,
    reference_of,
    sample_policy,
)
from polyculture.align.watching.settings import Watch
from polyculture.errors import BadInput
from polyculture.llm.base import Prompt, as_messages, as_text
from polyculture.llm.chat import PromptReader
from polyculture.space.embedders import Embedder

BY_PROMPT = ("top_k_entropy", "top_k_mass")
"""Metrics that are kept by prompt, for the alarm to know their noise."""


class PolicyEvaluation:
    """Evaluates policies on the same held-out prompts and pairs.

    Args:
        watch: settings.
        model: a policy, for the length of its context.
        tokenizer: its tokenizer.
        prompts: held-out prompts, see :class:`polyculture.align.watching.callback.WatchCallback`.
        pairs: held-out pairs.
        reference: a frozen model, or None.
        reward: of samples, or None.
        embedder: of the Vendi scores.
        ranks: the processes that share the work.
        end: more tokens that end an answer.
        autocast: gives the context in which policy and reference are run.

    Raises:
        BadInput: no prompt leaves room for an answer.
    """

    def __init__(
        self,
        watch: Watch,
        model: Any,
        tokenizer: Any,
        *,
        prompts: Sequence[Prompt | Tokens],
        pairs: Sequence[tuple[Tokens, Tokens, Tokens]],
        reference: Any,
        reward: Reward | None,
        embedder: Embedder,
        ranks: Ranks,
        end: Sequence[int] = (),
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self.watch = watch
        self.reference = reference
        self._tokenizer = tokenizer
        self._reward = reward
        self._embedder = embedder
        self._ranks = ranks
        self._more_ends = tuple(end)
        self._autocast = autocast
        self._of_reference: tuple[int, list[tuple[list[int], list[int]]]] | None = None
        context = context_of(model) or math.inf
        self._asked = self._choose(prompts, context)
        fitting = [pair for pair in pairs if len(pair[0]) + max(len(pair[1]), len(pair[2])) <= context]
        self._pairs = [fitting[i] for i in _some(len(fitting), watch.pairs, watch.seed)]

    @property
    def prompts(self) -> int:
        """How many prompts are watched."""
        return len(self._asked)

    def measure(self, model: Any) -> tuple[dict[str, float], dict[str, list[float]], list[dict[str, Any]]]:
        """The metrics, those of the alarm by prompt, and the samples to show; nothing but on the first process.

        Args:
            model: the policy, in eval mode (see :func:`polyculture.align.watching.samples.undisturbed`).
        """
        n, mine = len(self._asked), self._ranks.part(len(self._asked))
        prompts = [self._asked[i][1] for i in mine]
        pad = pad_token(self._tokenizer)
        end = (*end_tokens(model, self._tokenizer), *self._more_ends)
        with self._autocast():
            drawn = self._sample(model, prompts, pad, end)
            flat = [(prompt, answer) for prompt, answers in zip(prompts, drawn, strict=True) for answer in answers]
            own = read_completions(
                model, *_columns(flat), reference=self.reference, distributions=True, k=self.watch.k, pad=pad
            )
            readings = _regrouped(own, self.watch.samples)
            references = [self._read_reference(model, prompts, pad, end)] if self._has_reference(model) else []
            likelihoods = self._likelihoods(model, pad)

        drawn = self._ranks.gather(drawn, n)
        readings = self._ranks.gather(readings, n)
        references = [self._ranks.gather(part, n) for part in references]
        likelihoods = self._ranks.gather(likelihoods, len(self._pairs))
        if self._ranks.rank != 0:
            return {}, {}, []
        texts = [self._tokenizer.batch_decode(answers, skip_special_tokens=True) for answers in drawn]
        rewards = self._rewards(texts)
        metrics = reward_measures(rewards) if rewards else {}
        metrics |= _distribution_measures([one for part in readings for one in part])
        if references:
            metrics |= _forward_measures([one for part in references[0] for one in part])
        metrics |= diversity_measures(texts, self._embedder)
        ended = [bool(answer) and answer[-1] in end for answers in drawn for answer in answers]
        metrics |= {"ended": float(np.mean(ended))} | _pair_measures(likelihoods)
        samples = [
            {"prompt": prompt, "answers": answers, "rewards": [float(r) for r in rewards[i]] if rewards else []}
            for i, ((prompt, _), answers) in enumerate(zip(self._asked, texts, strict=True))
        ]
        by_prompt = {name: _by_prompt(readings, name) for name in BY_PROMPT}
        return metrics, by_prompt, samples[: self.watch.shown]

    def _choose(self, prompts: Sequence[Any], context: float) -> list[tuple[str, list[int]]]:
        """Text and token ids of the prompts that are watched."""
        reader = PromptReader(self._tokenizer, False, "watch")
        ids = [_ids(prompt, reader) for prompt in prompts]
        first: dict[tuple[int, ...], int] = {}
        for i, tokens in enumerate(ids):
            first.setdefault(tuple(tokens), i)
        distinct = list(first.values())
        fits = [i for i in distinct if 0 < len(ids[i]) <= context - self.watch.max_new_tokens]
        if len(fits) < len(distinct):
            if not fits:
                raise BadInput(
                    f"no held-out prompt leaves room for {self.watch.max_new_tokens} tokens in the model's context of "
                    f"{context}; watch fewer tokens (max_new_tokens, --watch-tokens)"
                )
            warnings.warn(
                f"{len(distinct) - len(fits)} of {len(distinct)} held-out prompts are empty or leave no room for "
                f"{self.watch.max_new_tokens} tokens in the model's context of {context}, and are not watched",
                stacklevel=2,
            )
        chosen = [fits[j] for j in _some(len(fits), self.watch.prompts, self.watch.seed)]
        return [(_shown(prompts[i], self._tokenizer), ids[i]) for i in chosen]

    def _sample(self, model: Any, prompts: list[list[int]], pad: int, end: tuple[int, ...]) -> list[list[list[int]]]:
        return sample_policy(
            model,
            prompts,
            self.watch.samples,
            max_new_tokens=self.watch.max_new_tokens,
            temperature=self.watch.temperature,
            seed=self.watch.seed,
            end=end,
            pad=pad,
            batch_size=self.watch.batch_size,
        )

    def _read_reference(
        self, model: Any, prompts: list[list[int]], pad: int, end: tuple[int, ...]
    ) -> list[list[Reading]]:
        """The policy and the reference at the reference's samples, which are drawn anew only when it has moved."""
        version = 0 if self.reference is None else sum(p._version for p in self.reference.parameters())
        if self._of_reference is None or self._of_reference[0] != version:
            with reference_of(model, self.reference) as reference:
                drawn = self._sample(reference, prompts, pad, end)
            pairs = [(p, answer) for p, answers in zip(prompts, drawn, strict=True) for answer in answers]
            self._of_reference = version, pairs
        found = read_completions(model, *_columns(self._of_reference[1]), reference=self.reference, pad=pad)
        return _regrouped(found, self.watch.samples)

    def _has_reference(self, model: Any) -> bool:
        return self.reference is not None or hasattr(model, "disable_adapter")

    def _likelihoods(self, model: Any, pad: int) -> list[tuple[float, float]]:
        mine = [self._pairs[i] for i in self._ranks.part(len(self._pairs))]
        sides = []
        for side in (1, 2):
            found = read_completions(model, [p[0] for p in mine], [p[side] for p in mine], distributions=False, pad=pad)
            sides.append([one.log_prob / max(1, one.tokens) for one in found])
        return list(zip(*sides, strict=True))

    def _rewards(self, texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
        if self._reward is None:
            return []
        asked = [prompt for (prompt, _), answers in zip(self._asked, texts, strict=True) for _ in answers]
        scores = self._reward(asked, [text for answers in texts for text in answers])
        return list(scores.reshape(len(texts), -1))


def _some(n: int, most: int, seed: int) -> list[int]:
    """All of n, or ``most`` of them drawn, in order."""
    if n <= most:
        return list(range(n))
    return sorted(np.random.default_rng(seed).choice(n, most, replace=False).tolist())


def _ids(prompt: Any, reader: PromptReader) -> list[int]:
    return [int(token) for token in prompt] if _is_ids(prompt) else reader.ids(prompt)


def _is_ids(prompt: Any) -> bool:
    return not isinstance(prompt, str) and not any(isinstance(one, Mapping) for one in prompt)


def _shown(prompt: Any, tokenizer: Any) -> str:
    if _is_ids(prompt):
        return str(tokenizer.decode(list(prompt), skip_special_tokens=True))
    return as_text(prompt if isinstance(prompt, str) else as_messages(prompt))


def _columns(pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[list[list[int]], list[list[int]]]:
    return [prompt for prompt, _ in pairs], [answer for _, answer in pairs]


def _regrouped(readings: Sequence[Reading], size: int) -> list[list[Reading]]:
    return [list(readings[start : start + size]) for start in range(0, len(readings), size)]


def _per_token(readings: Sequence[Reading], name: str) -> float:
    return math.fsum(getattr(one, name) for one in readings) / max(1, sum(one.tokens for one in readings))


def _by_prompt(readings: Sequence[Sequence[Reading]], name: str) -> list[float]:
    """One number a prompt whose mean is the metric and whose spread is the metric's, as far as a ratio is linear.

    A mean over the tokens of all prompts is a ratio of two sums, each of one term a prompt; these are its linearised
    terms, R + (S_i - R N_i) / mean(N).
    """
    sums = np.array([math.fsum(getattr(one, name) for one in own) for own in readings])
    tokens = np.array([sum(one.tokens for one in own) for own in readings], dtype=np.float64)
    if not tokens.any():
        return [0.0] * len(readings)
    ratio = sums.sum() / tokens.sum()
    return (ratio + (sums - ratio * tokens) / tokens.mean()).tolist()


def _distribution_measures(readings: Sequence[Reading]) -> dict[str, float]:
    found = {name: _per_token(readings, name) for name in ("entropy", "top_k_entropy", "top_k_mass")}
    if not math.isnan(readings[0].reverse_kl):
        found["reverse_kl"] = _per_token(readings, "reverse_kl")
        found["reverse_kl_sample"] = math.fsum(one.reverse_kl for one in readings) / len(readings)
        found["forward_kl_at_policy"] = _per_token(readings, "forward_kl")
    return found | {"length": float(np.mean([one.tokens for one in readings]))}


def _forward_measures(readings: Sequence[Reading]) -> dict[str, float]:
    whole = math.fsum(one.forward_kl for one in readings) / len(readings)
    return {"forward_kl": _per_token(readings, "forward_kl"), "forward_kl_sample": whole}


def _pair_measures(likelihoods: Sequence[tuple[float, float]]) -> dict[str, float]:
    if not likelihoods:
        return {}
    chosen, rejected = np.asarray(likelihoods, dtype=np.float64).T
    likelier = float(np.mean(chosen > rejected))
    return {"chosen": float(chosen.mean()), "rejected": float(rejected.mean()), "chosen_likelier": likelier}
