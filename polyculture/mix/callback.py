"""Re-weigh data while training: a sampler whose weights can change, and the callback that changes them.

With any ``transformers.Trainer``: give it ``MixtureDataset(dataset, sampler)`` and ``max_steps``, or a plain dataset
and call ``use_sampler(trainer, sampler)``; then add the callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from polyculture.errors import BadInput
from polyculture.mix.groups import on_simplex
from polyculture.mix.influence import model_influence
from polyculture.mix.tikmix import TiKMiX

Batches = Callable[[], Iterable[Any]] | Sequence[Any]


class MixtureSampler(Sampler[int]):
    """Rows of a dataset whose groups come in given shares; the shares may change while it is read.

    Every row number drawn first draws a group, then the next row of that group: within a group no row comes twice
    before all have come once. A new iteration goes on where the last one stopped.

    Args:
        groups: (n,) the group of every row, as codes into ``names`` or as the names themselves.
        weights: (m,) shares, in the order of ``names``; None is by size.
        names: the m names; None takes those that occur, sorted.
        length: rows an epoch; None is n.
        seed: of the draws.

    Raises:
        BadInput: a group with a share has no rows, or a weight is negative.
    """

    def __init__(
        self,
        groups: Sequence[Any] | np.ndarray,
        weights: Any = None,
        *,
        names: Sequence[str] | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        held = np.asarray(groups)
        if held.size == 0:
            raise BadInput("the dataset is empty; there is nothing to sample")
        if names is None:
            found, codes = np.unique(held, return_inverse=True)
            self.names = tuple(str(name) for name in found)
        else:
            self.names = tuple(names)
            place = {name: i for i, name in enumerate(self.names)}
            codes = held if held.dtype.kind in "iu" else np.array([place.get(str(g), -1) for g in held])
            if codes.min() < 0 or codes.max() >= len(self.names):
                raise BadInput(f"a row's group is none of {', '.join(self.names)}")
        self.length = len(held) if length is None else length
        self._rng = np.random.default_rng(seed)
        self._rows = [np.flatnonzero(codes == g) for g in range(len(self.names))]
        self._order = [self._rng.permutation(rows) for rows in self._rows]
        self._next = [0] * len(self.names)
        self.drawn = np.zeros(len(self.names), dtype=np.int64)
        sizes = np.array([len(rows) for rows in self._rows], dtype=np.float64)
        self.sizes = sizes.astype(np.int64)
        self.set_weights(sizes / sizes.sum() if weights is None else weights)

    @property
    def weights(self) -> np.ndarray:
        """(m,) the shares that are drawn with now."""
        return self._weights.copy()

    def set_weights(self, weights: Any) -> None:
        """Draw with other shares from the next row on.

        Raises:
            BadInput: as in the constructor.
        """
        held = on_simplex(weights, "sampler weights")
        if held.shape != (len(self.names),):
            raise BadInput(f"{held.size} weights for {len(self.names)} groups: {', '.join(self.names)}")
        for name, rows, weight in zip(self.names, self._rows, held, strict=True):
            if weight > 0 and len(rows) == 0:
                raise BadInput(f"group '{name}' has a share of {weight:.3g} but no rows")
        self._weights = held

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        for _ in range(self.length):
            yield self.draw()

    def draw(self) -> int:
        """The next row number."""
        g = int(self._rng.choice(len(self.names), p=self._weights / self._weights.sum()))
        if self._next[g] == len(self._order[g]):
            self._order[g] = self._rng.permutation(self._rows[g])
            self._next[g] = 0
        row = int(self._order[g][self._next[g]])
        self._next[g] += 1
        self.drawn[g] += 1
        return row


class MixtureDataset(IterableDataset[Any]):
    """A dataset read through a :class:`MixtureSampler`, for trainers that choose their own sampler.

    Endless: give the trainer ``max_steps``. With worker processes each has its own copy of the sampler, which new
    weights do not reach; use ``dataloader_num_workers=0``.

    Args:
        dataset: rows by number.
        sampler: which to read next.
    """

    def __init__(self, dataset: Any, sampler: MixtureSampler) -> None:
        self.dataset = dataset
        self.sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        if info is not None:
            raise BadInput("a MixtureDataset can't be re-weighed in worker processes; use dataloader_num_workers=0")
        while True:
            yield self.dataset[self.sampler.draw()]


def use_sampler(trainer: Any, sampler: MixtureSampler) -> None:
    """Have a trainer that has not started read its training data through the sampler."""
    trainer._get_train_sampler = lambda *_: sampler


class MixtureCallback(TrainerCallback):
    """Every so many steps: measure what each group does for each task now, and train on with the mixture that follows.

    TiKMiX (2025), Section 3.5: the weights are found again at each stage, from the last ones.

    Args:
        sampler: whose weights are set.
        groups: name -> batches of its data for gradients, a list or a function that makes them anew; every name of the
            sampler has to be there.
        validation: task -> batches of its validation data.
        every: steps between measurements.
        mixer: how weights follow from benefits.
        start: the step of the first measurement; None is ``every``.
        step_size: how far to go to the new weights, in (0, 1]; 1 goes there at once.
        hyper: options of :func:`~polyculture.mix.influence.model_influence`: damping, dim, loss, seed.

    ``history`` holds a dict a measurement: step, weights, benefits (task -> group -> value).
    """

    def __init__(
        self,
        sampler: MixtureSampler,
        groups: Mapping[str, Batches],
        validation: Mapping[str, Batches],
        *,
        every: int,
        mixer: TiKMiX | None = None,
        start: int | None = None,
        step_size: float = 1.0,
        **hyper: Any,
    ) -> None:
        missing = set(sampler.names) ^ set(groups)
        if missing:
            raise BadInput(f"group '{sorted(missing)[0]}' is only in one of the sampler and the batches for gradients")
        empty = [name for name, size in zip(sampler.names, sampler.sizes, strict=True) if size == 0]
        if empty:
            raise BadInput(f"group '{empty[0]}' has no rows to give weight to; leave it out")
        if every < 1 or not 0 < step_size <= 1:
            raise BadInput(f"every should be at least 1 and step_size in (0, 1], not {every} and {step_size}")
        self.sampler = sampler
        self.groups, self.validation = dict(groups), dict(validation)
        self.every, self.start, self.step_size = every, every if start is None else start, step_size
        self.mixer = mixer or TiKMiX()
        self.hyper = hyper
        self.history: list[dict[str, Any]] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Measure and re-weigh, if it is time."""
        step = state.global_step
        if step >= self.start and (step - self.start) % self.every == 0 and step < state.max_steps:
            self.reweigh(kwargs["model"], step)
        return control

    def reweigh(self, model: torch.nn.Module, step: int = 0) -> np.ndarray:
        """Measure benefits on the model and set the sampler's weights; returns them, (m,)."""
        batches = {name: _made(self.groups[name]) for name in self.sampler.names}
        tasks = {name: _made(b) for name, b in self.validation.items()}
        benefits = model_influence(model, batches, tasks, **self.hyper).benefits
        now = self.sampler.weights
        self.mixer.fit(benefits, prior=now)
        self.sampler.set_weights((1 - self.step_size) * now + self.step_size * self.mixer.weights_)
        self.history.append(
            {
                "step": step,
                "weights": dict(zip(self.sampler.names, self.sampler.weights.tolist(), strict=True)),
                "benefits": {
                    task: dict(zip(benefits.groups, row, strict=True))
                    for task, row in zip(benefits.tasks, benefits.values.tolist(), strict=True)
                },
            }
        )
        return self.sampler.weights


def _made(batches: Batches) -> Iterable[Any]:
    return batches() if callable(batches) else batches
