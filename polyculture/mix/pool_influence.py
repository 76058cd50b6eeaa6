"""The influence of a pool's groups on a language model, and of mixtures of them: what TiKMiX-D and -M measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.mix.benefits import Benefits
from polyculture.mix.groups import on_simplex
from polyculture.mix.influence import ModelInfluence, model_influence
from polyculture.mix.proxy import Encode, byte_tokens, group_tokens
from polyculture.pool import Pool
from polyculture.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn


class PoolInfluence:
    """How much each group of a pool helps a causal language model, as it is now, on each group of another pool.

    Args:
        model: ``model(input_ids=..., labels=...)`` with ``.loss``; left as it was.
        pool: training texts and groups.
        validation: validation texts; its groups are the tasks.
        encode: text to token ids of that model.
        length: tokens a sequence.
        batch_size: sequences a gradient.
        batches: gradients a group at most; the paper finds that more data than it takes to settle does not help.
        damping: of the Fisher matrix, as a share of its mean eigenvalue above 0.
        dim: of the projected gradients.
        seed: of the projection and of what is sampled.
        progress: told of every group and task.

    Raises:
        BadInput: a pool has no texts or groups, or a group has less text than one sequence.
    """

    def __init__(
        self,
        model: nn.Module,
        pool: Pool,
        validation: Pool,
        *,
        encode: Encode = byte_tokens,
        length: int = 64,
        batch_size: int = 4,
        batches: int = 32,
        damping: float = 1.0,
        dim: int = 1024,
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        self.batch_size, self.batches, self.seed = batch_size, batches, seed
        rng = np.random.default_rng(seed)
        self._data = sequences(pool, encode, length)
        tasks = sequences(validation, encode, length)
        self.influence: ModelInfluence = model_influence(
            model,
            {name: self._sample(rows, rng) for name, rows in self._data.items()},
            {name: self._sample(rows, rng) for name, rows in tasks.items()},
            damping=damping,
            dim=dim,
            seed=seed,
            progress=progress,
        )

    @property
    def benefits(self) -> Benefits:
        """Groups' benefits for the tasks, what ``TiKMiX.fit`` takes."""
        return self.influence.benefits

    def measure(self, mixture: Any, *, rng: np.random.Generator | int | None = None) -> float:
        """The summed normalised benefit (Eq. 9) of data sampled with a mixture: the label of TiKMiX-M.

        Args:
            mixture: (m,) weights, in the order of ``benefits.groups``.
            rng: of the sample; None is the seed's.
        """
        weights = on_simplex(mixture, "mixture")
        if weights.shape != (len(self._data),):
            raise BadInput(f"the mixture has {weights.size} weights, the pool {len(self._data)} groups")
        draw = np.random.default_rng(self.seed if rng is None else rng)
        streams = list(self._data.values())
        picked = []
        for g in draw.choice(len(streams), self.batches * self.batch_size, p=weights / weights.sum()):
            picked.append(streams[int(g)][int(draw.integers(len(streams[int(g)])))])
        S = self.benefits.values
        most = np.where(S.max(axis=1) > 0, S.max(axis=1), np.abs(S).max(axis=1)) + 1e-8
        return float(np.sum(self.influence.of(_batches(np.stack(picked), self.batch_size)) / most))

    def _sample(self, rows: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
        chosen = rng.permutation(len(rows))[: self.batches * self.batch_size]
        return _batches(rows[np.sort(chosen)], self.batch_size)


def sequences(pool: Pool, encode: Encode, length: int) -> dict[str, np.ndarray]:
    """Each group's texts as (n, length) token ids; what is left over at a group's end is not used.

    Raises:
        BadInput: a group has fewer than ``length`` tokens.
    """
    found = {}
    for name, stream in group_tokens(pool, encode).items():
        n = len(stream) // length
        if n == 0:
            raise BadInput(
                f"group '{name}' has {len(stream)} tokens, less than one sequence of {length}; use a shorter one"
            )
        found[name] = stream[: n * length].reshape(n, length)
    return found


def _batches(rows: np.ndarray, size: int) -> list[dict[str, Any]]:
    import torch

    parts = [torch.from_numpy(rows[start : start + size]) for start in range(0, len(rows), size)]
    return [{"input_ids": part, "labels": part} for part in parts]
