"""A limit on calls, tokens or money, kept before it is passed."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from polyculture.errors import BadInput, BudgetExceeded
from polyculture.llm.asks import NO_WATCH, Ask, Watch, Wrapper, answer_asks
from polyculture.llm.base import LLM, Completion, Sampling


@dataclass
class Budget:
    """What may be spent, and what has been; several models and threads may share one.

    No call is begun once a limit is reached. The number of calls is kept exactly; tokens and money are known when a
    completion arrives, so those can be overrun by the calls in flight at that moment.

    Args:
        max_calls: most completions asked for.
        max_tokens: most tokens, of prompts and completions together.
        max_cost: most money, in the currency of the prices.
        price_in: price of a million prompt tokens.
        price_out: price of a million generated tokens.

    Attributes:
        calls: completions asked for so far.
        tokens_in: prompt tokens so far.
        tokens_out: generated tokens so far.
        cost: money spent so far.

    Raises:
        BadInput: a limit or price is negative, or there is a limit on money and no price.
    """

    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    calls: int = field(default=0, init=False)
    tokens_in: int = field(default=0, init=False)
    tokens_out: int = field(default=0, init=False)
    cost: float = field(default=0.0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("max_calls", "max_tokens", "max_cost", "price_in", "price_out"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise BadInput(f"budget: {name} should be 0 or more, not {value}")
        if self.max_cost is not None and not (self.price_in or self.price_out):
            raise BadInput("budget: max_cost needs prices; give price_in and price_out, each for a million tokens")

    def admit(self) -> None:
        """Count one more call.

        Raises:
            BudgetExceeded: a limit is reached, with all that was spent; the call is not counted.
        """
        with self._lock:
            tokens = self.tokens_in + self.tokens_out
            for name, spent, limit in (
                ("max_calls", self.calls, self.max_calls),
                ("max_tokens", tokens, self.max_tokens),
                ("max_cost", self.cost, self.max_cost),
            ):
                if limit is not None and spent >= limit:
                    raise BudgetExceeded(
                        f"the budget is used up ({name} = {limit:g}): {self.spent()}; raise it to go on"
                    )
            self.calls += 1

    def pay(self, completion: Completion) -> float:
        """Count what a completion took, and return its cost; one from a cache took nothing."""
        if completion.cached:
            return 0.0
        cost = (completion.n_prompt_tokens * self.price_in + completion.n_tokens * self.price_out) / 1e6
        with self._lock:
            self.tokens_in += completion.n_prompt_tokens
            self.tokens_out += completion.n_tokens
            self.cost += cost
        return cost

    def spent(self) -> str:
        """What was spent, in words."""
        return f"{self.calls} calls, {self.tokens_in} + {self.tokens_out} tokens, cost {self.cost:.4g}"


class MeteredLLM(Wrapper):
    """A model that spends from a budget; put a cache around it, not inside, and cached completions are free.

    Args:
        llm: the model inside.
        budget: what it spends from.
    """

    def __init__(self, llm: LLM, budget: Budget) -> None:
        super().__init__(llm)
        self.budget = budget

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One completion for each ask, in order, each with its cost.

        Raises:
            BudgetExceeded: a limit is reached; what was answered until then has been told to ``watch``.
        """
        paid: dict[int, Completion] = {}

        def asking(position: int) -> None:
            watch.asking(position)
            self.budget.admit()

        def arrived(position: int, completion: Completion) -> None:
            cost = self.budget.pay(completion)
            paid[position] = dataclasses.replace(completion, cost=completion.cost + cost)
            watch.arrived(position, paid[position])

        answer_asks(self.llm, asks, sampling=sampling, seed=seed, watch=Watch(asking, arrived))
        return [paid[position] for position in range(len(asks))]
