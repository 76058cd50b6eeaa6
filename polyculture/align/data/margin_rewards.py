"""Margin rewards: how MODPO hears of the objectives that its pairs say nothing about.

"Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization" (2024), section 3. A margin
reward is any function (prompts, completions) -> (n,), higher is better; completions come as texts. One text names
several, as a command line gives them:

====================== =============================================== =======================
``length``             minus the length of the completion              tokens
``python:mod:fn``      your function                                   its own
``implicit:FOLDER``    beta (ln pi - ln ref), pi a model trained by    nats times beta: of the
                       DPO on the pairs of another objective           scale of a DPO reward
====================== =============================================== =======================

The weights of MODPO multiply these units. :func:`margin_columns` computes the columns of a data set, whose completions
may also be chat messages: ``implicit`` models read them as a trainer would, the others get their text. It can divide
each reward by its standard deviation over the data, so that weights compare like with like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.data.examples import Example, Messages, completion_text
from polyculture.align.objectives.bounds import positive
from polyculture.errors import BadInput
from polyculture.llm.base import Prompt, ScoringLLM

MarginReward = Callable[[Sequence[Prompt], Sequence[Any]], np.ndarray]
KNOWN = "length, python:module:function or implicit:FOLDER"


@dataclass(frozen=True)
class LengthReward:
    """Minus the length of a completion in tokens, special tokens left out: shorter is better.

    Args:
        tokenizer: a transformers tokenizer, the policy's.
    """

    tokenizer: Any
    name: str = "length"

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> np.ndarray:
        """(n,) float64, 0 at most."""
        if not len(completions):
            return np.zeros(0)
        ids = self.tokenizer(list(completions), add_special_tokens=False)["input_ids"]
        return -np.array([len(one) for one in ids], dtype=np.float64)


@dataclass(frozen=True)
class ImplicitReward:
    """The reward that a DPO-trained model implies: beta (ln pi(y|x) - ln ref(y|x)), summed over the completion.

    Models of transformers are asked for the very tokens that a trainer would see: plain prompts as they are, the end
    of the sequence included, cut to ``max_length`` (but a prompt that is cut keeps what its own answer leaves, not the
    longer one of the pair). Other scoring models are asked for the completion as they read it.

    Args:
        policy: the trained model.
        reference: what it was trained from. It should also be the reference of the MODPO run, or the optimum that
            MODPO is known to have is not had.
        beta: the beta it was trained with.
        max_length: most tokens of a prompt and a completion.
        name: what logs call it.
    """

    policy: ScoringLLM
    reference: ScoringLLM
    beta: float = 0.1
    max_length: int = 1024
    name: str = "implicit"

    def __post_init__(self) -> None:
        positive("beta", self.beta, "an implicit margin reward")
        vocabularies = [_vocabulary(llm) for llm in (self.policy, self.reference)]
        if None not in vocabularies and vocabularies[0] != vocabularies[1]:
            raise BadInput(
                f"{self.name}: the tokenizers of '{self.policy.name}' and of its reference '{self.reference.name}' "
                "differ; give the model that it was trained from"
            )

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str | Messages]) -> np.ndarray:
        """(n,) float64; NaN or infinite where a model gives a token no probability."""
        policy, reference = (
            _summed(llm, prompts, completions, self.max_length) for llm in (self.policy, self.reference)
        )
        with np.errstate(invalid="ignore"):
            return self.beta * (policy - reference)


@dataclass(frozen=True)
class FunctionReward:
    """A function of your own as a margin reward, its answer checked.

    Args:
        function: (prompts, completions) -> (n,), higher is better.
        name: what messages and logs call it.
    """

    function: Callable[[Sequence[Prompt], Sequence[str]], Any]
    name: str

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> np.ndarray:
        """(n,) float64.

        Raises:
            BadInput: the function gave anything else than a number a completion.
        """
        given = self.function(prompts, completions)
        try:
            values = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise BadInput(f"{self.name} should give numbers, one a completion: {error}") from error
        if values.shape != (len(completions),):
            raise BadInput(f"{self.name} should give ({len(completions)},), one a completion; it gave {values.shape}")
        return values


def make_margin_rewards(
    spec: str,
    *,
    tokenizer: Any = None,
    reference: str | Path | ScoringLLM | None = None,
    beta: float = 0.1,
    max_length: int = 1024,
) -> list[MarginReward]:
    """Margin rewards named in one text, ``length,python:mod:fn,implicit:FOLDER``, in that order.

    Args:
        spec: names, separated by commas; see the table above.
        tokenizer: the policy's; ``length`` counts its tokens.
        reference: the model that ``implicit`` models were trained from, or where it is.
        beta: the beta that ``implicit`` models were trained with.
        max_length: most tokens of a prompt and a completion that ``implicit`` models are asked about.

    Raises:
        BadInput: a name can't be read, a model can't be loaded, or the tokenizer or reference it needs is not given.
        UnknownMethod: a module has no such function.
    """
    rewards: list[MarginReward] = []
    for name in (part.strip() for part in spec.split(",")):
        kind, _, rest = name.partition(":")
        if name == "length":
            if tokenizer is None:
                raise BadInput("the margin reward 'length' counts tokens; give a tokenizer")
            rewards.append(LengthReward(tokenizer))
        elif kind == "python":
            from polyculture.functions import named_function

            rewards.append(FunctionReward(named_function(name), name))
        elif kind == "implicit" and rest:
            if reference is None:
                raise BadInput(f"the margin reward '{name}' needs the reference that its model was trained from")
            # Loaded once, however many models are compared to it.
            reference = _scoring(reference)
            rewards.append(ImplicitReward(_scoring(rest), reference, beta, max_length, name))
        else:
            raise BadInput(f"'{name}' is no margin reward; it should read {KNOWN}, several separated by commas")
    return rewards


@dataclass(frozen=True)
class MarginColumns:
    """Margin rewards of a data set of pairs.

    Args:
        chosen: (n, m) of the chosen completions.
        rejected: (n, m) of the rejected ones.
        scales: (m,) what each reward was divided by; 1 where it was left as it is.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    scales: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """(n,) whether all rewards of both sides are finite; drop and count the other pairs."""
        return np.isfinite(self.chosen).all(axis=1) & np.isfinite(self.rejected).all(axis=1)


def margin_columns(
    rewards: Sequence[MarginReward],
    prompts: Sequence[Prompt],
    chosen: Sequence[str | Messages],
    rejected: Sequence[str | Messages],
    *,
    standardise: bool = False,
) -> MarginColumns:
    """The columns ``margin_rewards_chosen`` and ``margin_rewards_rejected`` of a data set.

    Args:
        rewards: m functions of (prompts, completions).
        prompts: (n,) prompts.
        chosen: (n,) texts, or lists of chat messages.
        rejected: (n,) the same.
        standardise: divide each reward by its standard deviation over the completions of both sides whose reward is
            finite. (Its mean cancels within a pair and is left in.)

    Raises:
        BadInput: the lists differ in length, there is no reward, or one to standardise is the same for all.
    """
    n = len(prompts)
    if len(chosen) != n or len(rejected) != n:
        raise BadInput(f"there are {n} prompts, {len(chosen)} chosen and {len(rejected)} rejected completions")
    if not rewards:
        raise BadInput(f"no margin reward is given; name some: {KNOWN}")
    both = [*chosen, *rejected]
    texts = [completion_text(completion) for completion in both]
    table = np.stack(
        [
            _checked(reward)([*prompts, *prompts], both if isinstance(reward, ImplicitReward) else texts)
            for reward in rewards
        ],
        axis=1,
    )
    scales = np.ones(len(rewards))
    if standardise and n:
        for column, reward in enumerate(rewards):
            finite = table[np.isfinite(table[:, column]), column]
            spread = float(finite.std()) if finite.size else 0.0
            if not spread > 0:
                raise BadInput(f"the margin reward {_name(reward)} is the same for all completions; leave it out")
            scales[column] = spread
    table = table / scales
    return MarginColumns(table[:n], table[n:], scales)


def _checked(reward: MarginReward) -> MarginReward:
    """The reward, a function that anyone may have written wrapped so that a wrong answer is caught."""
    known = isinstance(reward, (LengthReward, ImplicitReward, FunctionReward))
    return reward if known else FunctionReward(reward, _name(reward))


def _name(reward: MarginReward) -> str:
    return str(getattr(reward, "name", None) or getattr(reward, "__name__", type(reward).__name__))


def _scoring(model: str | Path | ScoringLLM) -> ScoringLLM:
    if not isinstance(model, (str, Path)):
        return model
    from polyculture.llm.transformers import TransformersLLM

    return TransformersLLM(str(model), chat=False)


def _vocabulary(llm: ScoringLLM) -> dict[str, int] | None:
    tokenizer = getattr(llm, "tokenizer", None)
    return None if tokenizer is None else tokenizer.get_vocab()


def _summed(
    llm: ScoringLLM, prompts: Sequence[Prompt], completions: Sequence[str | Messages], max_length: int
) -> np.ndarray:
    if not len(completions):
        return np.zeros(0)
    from polyculture.llm.transformers import TransformersLLM

    if not isinstance(llm, TransformersLLM):
        texts = [completion_text(completion) for completion in completions]
        return np.array([float(np.sum(one)) for one in llm.logprobs(prompts, texts)])
    from polyculture.align.data.encoding import Encoder

    examples = [Example(prompt, (text,)) for prompt, text in zip(prompts, completions, strict=True)]
    encoded, _, _ = Encoder(llm.tokenizer, min(max_length, llm.context or max_length)).encode(examples)
    logs = llm.token_logprobs([row.prompt for row in encoded], [row.completions[0] for row in encoded])
    return np.array([float(np.sum(one)) for one in logs])
