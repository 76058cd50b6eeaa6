"""A toy of preference training whose every answer can be written down: 4 symbols, length 6, 4,096 sequences.

A policy is a table of logits for each position and previous symbol. Rewards, entropies and divergences are exact sums
over all sequences, not estimates. With ``ends`` a fifth symbol ends a sequence early, and there are 5,461 of unequal
length. Pairs are two different samples of the reference, labelled by Bradley-Terry on a known reward or by coin flips.
Several worlds, one a seed, are trained side by side: every tensor's first axis is the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from polyculture.align.log_probs.pairs import pair_inputs
from polyculture.align.objective import Objective

SYMBOLS, LENGTH = 4, 6
SPREAD = 0.7
"""Standard deviation of the reference's logits."""
PAIRS, STEPS, RATE = 800, 300, 0.05


@dataclass(frozen=True)
class Sequences:
    """All sequences there are.

    Args:
        cells: (n, LENGTH) entry of the flat table that each token reads; 0 where the sequence is over.
        mask: (n, LENGTH) True at tokens, the end included.
        rewards: (n,) .8 for each symbol 1 and .4 for each change from one symbol to another.
        width: tokens there are, the end included.
    """

    cells: Tensor
    mask: Tensor
    rewards: Tensor
    width: int

    @classmethod
    def all(cls, *, ends: bool = False) -> Sequences:
        """Write them down; with ``ends``, of every length up to LENGTH."""
        width = SYMBOLS + ends
        kept = []
        for length in range(LENGTH) if ends else ():
            rest = (SYMBOLS,) + (-1,) * (LENGTH - length - 1)
            kept += [symbols + rest for symbols in itertools.product(range(SYMBOLS), repeat=length)]
        tokens = torch.tensor(kept + list(itertools.product(range(SYMBOLS), repeat=LENGTH)))
        mask = tokens >= 0
        before = torch.nn.functional.pad(tokens[:, :-1] + 1, (1, 0))  # 0 is the beginning
        cells = (torch.arange(LENGTH) * (SYMBOLS + 1) + before.clamp(max=SYMBOLS)) * width + tokens
        real = mask & (tokens < SYMBOLS)
        changes = ((tokens[:, 1:] != tokens[:, :-1]) & real[:, 1:]).sum(dim=1)
        rewards = 0.8 * (tokens == 1).sum(dim=1).double() + 0.4 * changes.double()
        return cls(torch.where(mask, cells, 0), mask, rewards, width)


@dataclass(frozen=True)
class Worlds:
    """References and labelled pairs, one of each a seed.

    Args:
        sequences: all sequences.
        reference: (S, cells) log-probabilities of the reference's table.
        judged: (S, n) what margins and win rates are made of: the rewards, or where labels say nothing of them, the
            rewards of other sequences.
        chosen: (S, PAIRS) rows of ``sequences``.
        rejected: the same.
        held_chosen: pairs drawn and labelled in the same way, not trained on.
        held_rejected: the same.
    """

    sequences: Sequences
    reference: Tensor
    judged: Tensor
    chosen: Tensor
    rejected: Tensor
    held_chosen: Tensor
    held_rejected: Tensor

    @classmethod
    def draw(
        cls, seeds: Sequence[int], *, labels: Literal["preference", "coin", "both"] = "preference", ends: bool = False
    ) -> Worlds:
        """One world a seed.

        Args:
            seeds: of references and samples.
            labels: "preference" by Bradley-Terry; "coin" flips a coin for each pair; "both" gives half of the pairs,
                each in both orders. The references and the samples are the same. Without preferences margins and
                win rates are made of rewards that are shuffled over the sequences: labels alone are not all that some
                objectives learn from.
            ends: whether sequences are of unequal length.
        """
        sequences, informed = Sequences.all(ends=ends), labels == "preference"
        references, judged, pairs = [], [], []
        for seed in seeds:
            rng = torch.Generator().manual_seed(seed)
            shape = (LENGTH, SYMBOLS + 1, sequences.width)
            logits = SPREAD * torch.randn(shape, generator=rng, dtype=torch.float64)
            references.append(logits.log_softmax(dim=-1).flatten())
            chances = answer_logps(references[-1][None], sequences)[0].exp()
            both = torch.multinomial(chances, 8 * PAIRS, replacement=True, generator=rng).view(-1, 2)
            both = both[both[:, 0] != both[:, 1]][: 2 * PAIRS]  # an answer is not compared with itself
            gap = sequences.rewards[both[:, 0]] - sequences.rewards[both[:, 1]]
            first = torch.rand(len(both), generator=rng, dtype=torch.float64) < torch.sigmoid(
                gap if informed else torch.zeros_like(gap)
            )
            pairs.append(torch.where(first[:, None], both, both.flip(1)))
            n = len(sequences.rewards)
            judged.append(sequences.rewards[torch.arange(n) if informed else torch.randperm(n, generator=rng)])
        train, held = torch.stack(pairs).split(PAIRS, dim=1)
        if labels == "both":
            train, held = (torch.cat([half, half.flip(2)], dim=1) for half in (train[:, ::2], held[:, ::2]))
        shown = (train[..., 0], train[..., 1], held[..., 0], held[..., 1])
        return cls(sequences, torch.stack(references), torch.stack(judged), *shown)


def answer_logps(table: Tensor, sequences: Sequences) -> Tensor:
    """(S, n) log-probability of every sequence under each of S tables."""
    return torch.where(sequences.mask, table[:, sequences.cells], 0.0).sum(dim=-1)


@dataclass(frozen=True)
class Trace:
    """What was seen of one objective, each (evaluations, S).

    Args:
        steps: steps taken before each evaluation.
        reward: exact expected reward less the reference's.
        entropy: of the sequences, in nats.
        kl: KL(policy || reference) of the sequences.
        length: expected number of tokens.
        chosen: mean change of the chosen sequences' log-probability.
        rejected: the same of the rejected.
        held_gap: mean change of the chosen less that of the rejected, of pairs not trained on.
        kl_chosen: mean of sum_t KL(reference || policy) along the chosen sequences.
        kl_rejected: the same of the rejected.
        table: (S, cells) log-probabilities at the end.
    """

    steps: list[int] = field(default_factory=list)
    reward: list[np.ndarray] = field(default_factory=list)
    entropy: list[np.ndarray] = field(default_factory=list)
    kl: list[np.ndarray] = field(default_factory=list)
    length: list[np.ndarray] = field(default_factory=list)
    chosen: list[np.ndarray] = field(default_factory=list)
    rejected: list[np.ndarray] = field(default_factory=list)
    held_gap: list[np.ndarray] = field(default_factory=list)
    kl_chosen: list[np.ndarray] = field(default_factory=list)
    kl_rejected: list[np.ndarray] = field(default_factory=list)
    table: list[Tensor] = field(default_factory=list)

    def last(self, name: str) -> np.ndarray:
        """The last evaluation's values of one measure, one a seed."""
        return getattr(self, name)[-1]

    def when_gained(self, gain: float, name: str) -> np.ndarray:
        """(S,) one measure where each seed's reward gain first is ``gain``, interpolated between two evaluations.

        NaN for a seed that never gains as much.
        """
        gained, measured = np.stack(self.reward), np.stack(getattr(self, name))
        found = np.full(gained.shape[1], np.nan)
        for seed in np.flatnonzero((gained >= gain).any(axis=0)):
            after = max(int((gained[:, seed] >= gain).argmax()), 1)
            low, high = gained[after - 1 : after + 1, seed]
            share = min(max((gain - low) / (high - low), 0.0), 1.0)
            found[seed] = (1 - share) * measured[after - 1, seed] + share * measured[after, seed]
        return found


class Trainer:
    """Trains tables on the pairs of several worlds at once, by full-batch Adam, with any objective it has inputs for.

    Args:
        worlds: the worlds.
    """

    def __init__(self, worlds: Worlds) -> None:
        self.worlds = worlds
        sequences = worlds.sequences
        n_seeds, n_cells = worlds.reference.shape
        self._rows = torch.stack([worlds.chosen, worlds.rejected])  # (2, S, B)
        self._mask = sequences.mask[self._rows].flatten(0, 2)
        starts = (torch.arange(n_seeds) * n_cells)[None, :, None, None]
        self._cells = (sequences.cells[self._rows] + starts).flatten(0, 2)
        ref = self._read(worlds.reference)
        given = pair_inputs(ref, self._mask, ref)
        fixed = {name: values for name, values in given.items() if name.startswith(("ref", "tokens"))}
        self._columns = self._from_rewards()
        self._constants = {name: values.view(n_seeds, -1) for name, values in fixed.items()} | self._columns
        self._tokens = torch.stack([self._constants["tokens_chosen"], self._constants["tokens_rejected"]])
        answers = answer_logps(worlds.reference, sequences)
        self._ref_answers, self._ref_reward = answers, answers.exp() @ sequences.rewards

    def _from_rewards(self) -> dict[str, Tensor]:
        judged, wins = self.worlds.judged, []
        for rewards, logps in zip(judged, answer_logps(self.worlds.reference, self.worlds.sequences), strict=True):
            kinds, which = rewards.unique(return_inverse=True)
            mass = torch.zeros_like(kinds).index_add(0, which, logps.exp())
            wins.append((torch.sigmoid(kinds[:, None] - kinds) @ mass)[which])  # against the reference's answers
        chosen, rejected = (judged.gather(1, rows) for rows in self._rows)
        win_chosen, win_rejected = (torch.stack(wins).gather(1, rows) for rows in self._rows)
        return {"margin": (chosen - rejected).clamp(min=0), "win_chosen": win_chosen, "win_rejected": win_rejected}

    def _read(self, table: Tensor) -> Tensor:
        return table.flatten()[self._cells]

    def offers(self, objective: Objective) -> bool:
        """Whether the toy has the inputs of an objective: pairs, demonstrations and labels without other columns."""
        return objective.kind in ("pairs", "demonstrations", "labels") and set(objective.columns) <= set(self._columns)

    def inputs(self, table: Tensor, objective: Objective) -> dict[str, Tensor]:
        """The inputs of an objective, (S, B) or for labels (S, 2B), of tables of log-probabilities."""
        n_seeds, n_pairs = self.worlds.chosen.shape
        sums = torch.where(self._mask, self._read(table), 0.0).sum(dim=1).view(2, n_seeds, n_pairs)
        given = dict(self._constants)
        given["policy_chosen"], given["policy_rejected"] = sums
        given["mean_chosen"], given["mean_rejected"] = sums / self._tokens
        if objective.needs_vocabulary:
            given |= dict(zip(("kl_chosen", "kl_rejected"), self._divergences(table), strict=True))
        if objective.kind == "labels":
            given["policy"] = torch.cat([given["policy_chosen"], given["policy_rejected"]], dim=1)
            given["ref"] = torch.cat([given["ref_chosen"], given["ref_rejected"]], dim=1)
            given["kl_policy"], given["kl_ref"] = given["policy"].roll(1, dims=1), given["ref"].roll(1, dims=1)
            given["desirable"] = (torch.arange(2 * n_pairs) < n_pairs).expand(n_seeds, -1)
        return given

    def _divergences(self, table: Tensor) -> Tensor:
        """(2, S, B) sum_t KL(reference || policy) along the chosen and the rejected sequences."""
        ref, width = self.worlds.reference, self.worlds.sequences.width
        states = (ref.exp() * (ref - table)).view(len(ref), -1, width).sum(dim=-1).flatten()
        along = states[self._cells // width].masked_fill(~self._mask, 0.0)
        return along.sum(dim=1).view(self._rows.shape)

    def losses(self, table: Tensor, objective: Objective) -> list[Tensor]:
        """One loss a seed. Seeds are called one by one: some objectives look at the whole batch."""
        given = self.inputs(table, objective)
        found = []
        for seed in range(len(table)):
            loss = objective({name: given[name][seed] for name in objective.needs})
            token = objective.traits.per == "token"
            found.append(loss.sum() / given["tokens_chosen"][seed].sum() if token else loss.mean())
        return found

    def train(self, objective: Objective, *, steps: int = STEPS, every: int | None = None) -> Trace:
        """Train from the reference, evaluating before the first step, every ``every`` steps, and at the end."""
        shape = (len(self.worlds.reference), -1, self.worlds.sequences.width)
        logits = self.worlds.reference.view(shape).clone().requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=RATE)
        trace = Trace()
        for step in range(steps + 1):
            table = logits.log_softmax(dim=-1).flatten(1)
            if step in (0, steps) or (every and step % every == 0):
                self._evaluate(table.detach(), step, trace)
            if step == steps:
                break
            optimizer.zero_grad()
            torch.stack(self.losses(table, objective)).sum().backward()
            optimizer.step()
        trace.table.append(table.detach())
        return trace

    @torch.no_grad()
    def _evaluate(self, table: Tensor, step: int, trace: Trace) -> None:
        sequences, worlds = self.worlds.sequences, self.worlds
        logps = answer_logps(table, sequences)
        chances, change = logps.exp(), logps - self._ref_answers
        seen = {
            "reward": chances @ sequences.rewards - self._ref_reward,
            "entropy": -(chances * logps).sum(dim=1),
            "kl": (chances * change).sum(dim=1),
            "length": chances @ sequences.mask.sum(dim=1).double(),
            "chosen": change.gather(1, worlds.chosen).mean(dim=1),
            "rejected": change.gather(1, worlds.rejected).mean(dim=1),
            "held_gap": (change.gather(1, worlds.held_chosen) - change.gather(1, worlds.held_rejected)).mean(dim=1),
        }
        seen |= dict(zip(("kl_chosen", "kl_rejected"), self._divergences(table).mean(dim=2), strict=True))
        trace.steps.append(step)
        for name, values in seen.items():
            getattr(trace, name).append(values.numpy())


def covers_zero(values: np.ndarray, *, looks: int = 1) -> bool:
    """Whether the interval of the mean over seeds (Student t, 95 % for all ``looks`` together) contains 0."""
    from scipy.stats import t

    half = float(t.ppf(1 - 0.025 / looks, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return bool(abs(values.mean()) <= half)
