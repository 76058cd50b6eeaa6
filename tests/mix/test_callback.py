"""The sampler draws what it is told to, and a real Trainer trains through it while the callback re-weighs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from polyculture.errors import BadInput
from polyculture.mix.callback import MixtureCallback, MixtureDataset, MixtureSampler, use_sampler
from polyculture.mix.proxy import byte_model

GROUPS = np.repeat([0, 1, 2], [30, 30, 30])
NAMES = ("a", "b", "noise")


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Thirty sequences of each of two patterns and of noise."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        patterns = {0: np.tile([1, 2, 3, 4], 4), 1: np.tile([5, 6, 7, 8], 4)}
        self.ids = np.array([patterns[g] if g in patterns else rng.integers(0, 256, 16) for g in GROUPS])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self.ids[i]).long()
        return {"input_ids": ids, "labels": ids}

    def batches(self, group: int, n: int = 4) -> list[dict[str, torch.Tensor]]:
        at = np.flatnonzero(group == GROUPS)[: 2 * n].reshape(n, 2)
        return [{k: torch.stack([self[int(i)][k] for i in pair]) for k in ("input_ids", "labels")} for pair in at]


def callback(sampler: MixtureSampler, rows: Rows, **more: Any) -> MixtureCallback:
    return MixtureCallback(
        sampler,
        {name: rows.batches(g) for g, name in enumerate(NAMES)},
        {"both": lambda: rows.batches(0) + rows.batches(1)},
        dim=256,
        **{"every": 5, "damping": 0.1} | more,
    )


def arguments(folder: Path, steps: int) -> TrainingArguments:
    return TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=6,
        learning_rate=3e-3,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )


@pytest.mark.parametrize("way", ["dataset", "sampler"])
def test_a_trainer_is_reweighed_as_it_goes(tmp_path: Path, way: str) -> None:
    torch.manual_seed(0)
    rows = Rows()
    sampler = MixtureSampler(GROUPS, [1 / 3] * 3, names=NAMES, length=36)
    watch = callback(sampler, rows)
    data = MixtureDataset(rows, sampler) if way == "dataset" else rows
    trainer = Trainer(byte_model(), arguments(tmp_path, 15), train_dataset=data, callbacks=[watch])
    if way == "sampler":
        use_sampler(trainer, sampler)
    trainer.train()
    assert [h["step"] for h in watch.history] == [5, 10]  # not after the last step
    for held in watch.history:
        assert sum(held["weights"].values()) == pytest.approx(1)
        assert set(held["benefits"]) == {"both"} and set(held["benefits"]["both"]) == set(NAMES)
    assert watch.history[-1]["weights"]["noise"] < 0.2
    assert 90 <= sampler.drawn.sum() <= 120 and trainer.state.global_step == 15


def test_shares_and_rounds_of_the_sampler() -> None:
    sampler = MixtureSampler(GROUPS, [0.6, 0.4, 0.0], names=NAMES, length=6000, seed=1)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 6000 and max(drawn) < 60
    assert np.mean(np.array(drawn) < 30) == pytest.approx(0.6, abs=0.03)
    counts = np.bincount(drawn)[:30]
    assert counts.max() - counts.min() <= 1  # every row once before any again
    sampler.set_weights([0, 0, 1])
    assert min(next(iter(sampler)) for _ in range(20)) >= 60
    assert list(MixtureSampler(GROUPS, seed=5)) == list(MixtureSampler(GROUPS, seed=5))
    assert MixtureSampler(["x", "y", "x"]).weights == pytest.approx([2 / 3, 1 / 3])
    assert MixtureSampler(["y"], names=["x", "y"]).weights.tolist() == [0, 1]


def test_bad_samplers_and_callbacks() -> None:
    with pytest.raises(BadInput, match="empty"):
        MixtureSampler([])
    with pytest.raises(BadInput, match=r"'x' has a share of 0\.5 but no rows"):
        MixtureSampler(["y"], [0.5, 0.5], names=["x", "y"])
    with pytest.raises(BadInput, match="none of x"):
        MixtureSampler(["y"], names=["x"])
    with pytest.raises(BadInput, match="2 weights for 3 groups"):
        MixtureSampler(GROUPS, [0.5, 0.5], names=NAMES)
    sampler, rows = MixtureSampler(GROUPS, names=NAMES), Rows()
    with pytest.raises(BadInput, match="'b' is only in one"):
        MixtureCallback(sampler, {"a": [], "noise": []}, {"t": []}, every=1)
    with pytest.raises(BadInput, match="step_size"):
        callback(sampler, rows, step_size=0)
    with pytest.raises(BadInput, match="'noise' has no rows"):
        callback(MixtureSampler(GROUPS[:60], [0.5, 0.5, 0], names=NAMES), rows)
    with pytest.raises(BadInput, match="'t' has no batches"):
        groups = {name: rows.batches(g) for g, name in enumerate(NAMES)}
        MixtureCallback(sampler, groups, {"t": []}, every=1).reweigh(byte_model())
    loader = torch.utils.data.DataLoader(MixtureDataset(rows, sampler), num_workers=1)
    with pytest.raises(Exception, match="dataloader_num_workers=0"):
        next(iter(loader))
