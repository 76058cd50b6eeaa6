"""What training on a policy's own samples remembers: Z of each prompt, the baseline, and how far the target still is.

f-DPG (2023), Algorithm 1. Everything here is plain numbers, so that a checkpoint can hold it as JSON.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput


class RunningLogMean:
    """The log of the mean of all numbers so far, of which the logs are given; never leaves the log scale.

    >>> mean = RunningLogMean()
    >>> mean.add([math.log(1.0), math.log(3.0)])
    >>> round(math.exp(mean.value), 6)
    2.0
    """

    def __init__(self, log_sum: float = -math.inf, count: int = 0) -> None:
        self.log_sum, self.count = log_sum, count

    def add(self, logs: Sequence[float] | np.ndarray) -> None:
        """Take in more; -inf is a 0."""
        given = np.asarray(logs, dtype=np.float64)
        self.log_sum = float(np.logaddexp.reduce(given, initial=self.log_sum))
        self.count += given.size

    @property
    def value(self) -> float:
        """-inf before the first number."""
        return self.log_sum - math.log(self.count) if self.count else -math.inf


class SampledState:
    """Running Z of every prompt, and the baseline of the last pseudo-rewards.

    A batch goes ``add_weights``, ``log_z``, the losses with ``baseline`` as it still is, then ``add_rewards``: the
    baseline of a batch never holds that batch.

    Args:
        window: how many of the last pseudo-rewards the baseline is the mean of; 0 keeps it at 0.

    Raises:
        BadInput: the window is negative.
    """

    def __init__(self, window: int = 1024) -> None:
        if window < 0:
            raise BadInput(f"window of the baseline should be 0 (no baseline) or more, not {window}")
        self.window = window
        self._z: dict[str, RunningLogMean] = {}
        self._rewards: deque[float] = deque(maxlen=window)

    def add_weights(self, prompts: Sequence[str], log_weights: Sequence[float] | np.ndarray) -> None:
        """Count samples towards the Z of their prompts.

        Args:
            prompts: the prompt of each sample.
            log_weights: log P - log q of each sample, -inf where P = 0.

        Raises:
            BadInput: a weight is NaN or infinite.
        """
        weights = np.asarray(log_weights, dtype=np.float64)
        if bool((np.isnan(weights) | (weights == math.inf)).any()):
            raise BadInput("log P - log q should be a number or -inf: the target or the proposal gave NaN or infinity")
        rows: dict[str, list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows.setdefault(prompt, []).append(row)
        for prompt, those in rows.items():
            self._z.setdefault(_key(prompt), RunningLogMean()).add(weights[those])

    def log_z(self, prompts: Sequence[str]) -> np.ndarray:
        """(n,) log of the mean of P / q over all samples of each prompt so far; -inf while that is 0."""
        nothing = RunningLogMean()
        known = {prompt: self._z.get(_key(prompt), nothing).value for prompt in dict.fromkeys(prompts)}
        return np.asarray([known[prompt] for prompt in prompts], dtype=np.float64)

    @property
    def mean_z(self) -> float:
        """Z, the mean over prompts; NaN before the first sample."""
        return float(np.mean([math.exp(z.value) for z in self._z.values()])) if self._z else math.nan

    @property
    def baseline(self) -> float:
        """Mean of the last pseudo-rewards; 0 before the first."""
        return float(np.mean(self._rewards)) if self._rewards else 0.0

    def add_rewards(self, rewards: Sequence[float] | np.ndarray) -> None:
        """Take pseudo-rewards into the baseline; NaN (a prompt without a Z) is passed over."""
        given = np.asarray(rewards, dtype=np.float64)
        self._rewards.extend(given[~np.isnan(given)].tolist())

    def state_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        sums = {key: [None if z.log_sum == -math.inf else z.log_sum, z.count] for key, z in self._z.items()}
        return {"window": self.window, "z": sums, "rewards": list(self._rewards)}

    def load_state_dict(self, held: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave.

        Raises:
            BadInput: it was kept with another window.
        """
        if held["window"] != self.window:
            raise BadInput(
                f"the checkpoint's baseline has a window of {held['window']}, not {self.window}; resume with that, or "
                "start anew"
            )
        self._z = {
            key: RunningLogMean(-math.inf if log_sum is None else float(log_sum), int(count))
            for key, (log_sum, count) in held["z"].items()
        }
        self._rewards = deque((float(r) for r in held["rewards"]), maxlen=self.window)


class ProposalRefresh:
    """Off-policy sampling: when the proposal q should become the policy.

    Every ``every`` steps, if over those steps the policy was nearer to the target than the proposal was.

    Args:
        every: steps between decisions.

    Raises:
        BadInput: ``every`` is below 1.
    """

    def __init__(self, every: int = 16) -> None:
        if every < 1:
            raise BadInput(f"the proposal should be looked at every 1 or more steps, not every {every}")
        self.every = every
        self._policy: list[float] = []
        self._proposal: list[float] = []

    def step(self, policy: float, proposal: float) -> bool:
        """Whether to refresh now.

        Args:
            policy: the policy's estimated divergence to the target on this step's samples; NaN where there is none.
            proposal: the proposal's, on the same samples.
        """
        self._policy.append(policy)
        self._proposal.append(proposal)
        if len(self._policy) < self.every:
            return False
        both = np.asarray([self._policy, self._proposal])
        self._policy, self._proposal = [], []
        both = both[:, np.isfinite(both).all(axis=0)]
        return bool(both.shape[1] and both[0].mean() < both[1].mean())

    def state_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        plain = [[x if math.isfinite(x) else None for x in kept] for kept in (self._policy, self._proposal)]
        return {"every": self.every, "policy": plain[0], "proposal": plain[1]}

    def load_state_dict(self, held: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self._policy, self._proposal = (
            [math.nan if x is None else float(x) for x in held[name]] for name in ("policy", "proposal")
        )


def _key(prompt: str) -> str:
    """Short, so that a checkpoint of many long prompts stays small."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:24]
