"""The search for QuaDMix's parameters: proxy runs with random ones, a regression of their loss, the best predicted.

QuaDMix: Quality-Diversity Balanced Data Selection for Efficient LLM Pretraining (2025), Algorithm 1 and Section 3.3.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from polyculture.errors import BadInput
from polyculture.files import atomic
from polyculture.progress import Progress, silent
from polyculture.select.quadmix_sampling import Parameters, parameter_names, parameters_of_uniforms
from polyculture.surrogate import LossModel, mean_of_lowest
from polyculture.tables import read_csv

BLOCK = 20_000


@dataclass(eq=False)
class QuaDMixSearch(BaseEstimator):
    """Propose parameters for proxy runs, then fit on what they scored.

    ``propose(n)`` draws parameters from the prior; train a small model on the corpus that each draws and note its loss
    on the target; ``fit(runs)`` learns the loss of parameters, predicts it for ``candidates`` new draws of the same
    prior, and averages the ``best`` of them, component by component. Afterwards ``best_`` holds the parameters,
    ``predicted_loss_`` their predicted loss, ``spread_`` the standard deviation of each over the averaged ones,
    ``error_`` and ``correlation_`` the mean absolute error and the correlation on the runs held out. Never search
    outside the prior: what the regression says there is made up. Source: QuaDMix (2025), Algorithm 1 and Section 3.3;
    the settings of the trees are RegMix's, for the paper states none.

    Args:
        criteria: names of the quality criteria.
        domains: names of the domains.
        omega: largest threshold of the prior; 0.1 bounds what is selected to a tenth of the tokens.
        lambda_prior: "log" draws lambda log-uniformly from 1 to 1000, "linear" uniformly from 0 to 1000.
        candidates: draws whose loss is predicted.
        best: how many of them are averaged.
        held_out: share of the runs that early stopping and the reported errors use.
        trees: most boosting rounds.
        learning_rate: of the boosting.
        patience: rounds without improvement before it stops.
        seed: of the split, the candidates and the trees.
    """

    criteria: tuple[str, ...]
    domains: tuple[str, ...]
    omega: float = 0.1
    lambda_prior: Literal["log", "linear"] = "log"
    candidates: int = 100_000
    best: int = 10
    held_out: float = 1 / 15
    trees: int = 1000
    learning_rate: float = 0.01
    patience: int = 3
    seed: int = 42

    def propose(self, n: int, rng: np.random.Generator | int | None = None) -> list[Parameters]:
        """Draw n times from the prior: parameters of as many proxy runs."""
        return [self._parameters(row) for row in self.vectors(n, rng)]

    def vectors(self, n: int, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """Draw n times from the prior, as rows of a table, (n, (N + 4) M); ``parameter_names`` names its columns.

        Raises:
            BadInput: n is below 1, or there is no criterion or domain.
        """
        names, m = len(self.criteria), len(self.domains)
        if n < 1 or not names or not m:
            raise BadInput(f"{n} proposals for {names} criteria and {m} domains; each should be 1 or more")
        source = np.random.default_rng(rng)
        # 1 - U is never 0, so that no criterion's weights are all 0.
        a, b, u = (1 - source.random(shape) for shape in ((n, names), (n, m, names), (n, m, 4)))
        alpha, *beta = parameters_of_uniforms(a, b, u, omega=self.omega, lambda_prior=self.lambda_prior)
        return np.concatenate([alpha.reshape(n, -1), *beta], axis=1)

    def fit(
        self,
        runs: str | Path | Sequence[Mapping[str, Any]] | Sequence[Parameters] | np.ndarray,
        losses: Any = None,
        *,
        score: str = "loss",
    ) -> QuaDMixSearch:
        """Learn from proxy runs and find the parameters of lowest predicted loss.

        Args:
            runs: a CSV file or rows with the columns ``parameter_names(criteria, domains)`` and ``score``, one run a
                row; or, with ``losses``, parameters or (n, (N + 4) M) vectors of them.
            losses: (n,) loss of each run, lower is better.
            score: column of losses.

        Raises:
            BadInput: fewer than 4 runs, a column is missing, or a value is not a finite number.
        """
        thetas, found = self._table(runs, score) if losses is None else (self._rows(runs), losses)
        y = np.asarray(found, dtype=np.float64)
        if len(thetas) < 4 or y.shape != (len(thetas),):
            raise BadInput(
                f"a search needs 4 runs or more and a loss for each; got {len(thetas)} runs, {y.size} losses"
            )
        source = np.random.default_rng(self.seed)
        order = source.permutation(len(thetas))
        held = order[: max(2, round(self.held_out * len(thetas)))]
        taught = order[len(held) :]
        model = LossModel(self.trees, self.learning_rate, self.patience, self.seed)
        model.fit(thetas[taught], y[taught], thetas[held], y[held])
        guess = model.predict(thetas[held])
        self.error_ = float(np.abs(guess - y[held]).mean())
        varies = np.ptp(guess) > 0 and np.ptp(y[held]) > 0
        self.correlation_ = float(np.corrcoef(guess, y[held])[0, 1]) if varies else 0.0
        drawn = self.vectors(self.candidates, source)
        blocks = range(0, len(drawn), BLOCK)
        predicted = np.concatenate([model.predict(drawn[start : start + BLOCK]) for start in blocks])
        mean, self.spread_ = mean_of_lowest(drawn, predicted, self.best)
        self.best_ = self._parameters(mean)
        self.predicted_loss_ = float(model.predict(mean[None])[0])
        return self

    def search(
        self,
        evaluate: Callable[[Parameters], float],
        n: int,
        *,
        rng: np.random.Generator | int | None = None,
        runs: Path | str | None = None,
        progress: Progress = silent,
    ) -> QuaDMixSearch:
        """Propose n parameters, evaluate each, and fit.

        Args:
            evaluate: what a proxy run with these parameters scores, lower is better.
            n: proxy runs; 3 000 in the paper.
            rng: where proposals come from.
            runs: CSV file that each run is written to as it ends; a run that is there already is not repeated, so a
                search that was stopped goes on (with the same ``rng`` seed).
            progress: told how many runs are done.
        """
        thetas = self.vectors(n, rng)
        known: dict[tuple[float, ...], float] = {}
        if runs is not None and Path(runs).exists():
            old, scores = self._table(runs, "loss")
            known = {tuple(row): float(value) for row, value in zip(old.tolist(), scores, strict=True)}
        for done, row in enumerate(thetas):
            progress("proxy runs", done, n)
            if tuple(row.tolist()) not in known:
                known[tuple(row.tolist())] = float(evaluate(self._parameters(row)))
                if runs is not None:
                    self._write(Path(runs), known)
        progress("proxy runs", n, n)
        losses = np.array([known[tuple(row)] for row in thetas.tolist()])
        broken = ~np.isfinite(losses)
        if broken.any():
            warnings.warn(f"{int(broken.sum())} of {n} runs have no finite loss and are left out", stacklevel=2)
        return self.fit(thetas[~broken], losses[~broken])

    def _parameters(self, vector: np.ndarray) -> Parameters:
        return Parameters.of_vector(vector, tuple(self.criteria), tuple(self.domains))

    def _rows(self, runs: Any) -> np.ndarray:
        rows = [run.vector if isinstance(run, Parameters) else run for run in runs]
        held = np.asarray(rows, dtype=np.float64)
        width = (len(self.criteria) + 4) * len(self.domains)
        if held.ndim != 2 or held.shape[1] != width:
            raise BadInput(f"runs should have {width} parameters each, not shape {held.shape}")
        return held

    def _table(self, runs: Any, score: str) -> tuple[np.ndarray, np.ndarray]:
        source = str(runs) if isinstance(runs, (str, Path)) else "runs"
        if isinstance(runs, (str, Path)):
            if not Path(runs).is_file():
                raise BadInput(f"{source}: there is no such file; proxy runs are a CSV file, one run a row")
            rows = [(f"line {line}", row) for line, row in read_csv(runs)[1]]
        else:
            rows = [(f"run {i}", row) for i, row in enumerate(runs, 1)]
        names = [*parameter_names(tuple(self.criteria), tuple(self.domains)), score]
        found = np.empty((len(rows), len(names)))
        for i, (place, row) in enumerate(rows):
            for j, name in enumerate(names):
                try:
                    found[i, j] = float(row[name])
                except KeyError:
                    raise BadInput(f"{source}: column '{name}' is missing; columns are {', '.join(row)}") from None
                except (TypeError, ValueError):
                    raise BadInput(f"{source} {place}: '{name}' is {row[name]!r}, not a number") from None
        return found[:, :-1], found[:, -1]

    def _write(self, path: Path, runs: Mapping[tuple[float, ...], float]) -> None:
        with atomic(path) as file:
            writer = csv.writer(file)
            writer.writerow([*parameter_names(tuple(self.criteria), tuple(self.domains)), "loss"])
            writer.writerows([*map(repr, row), repr(loss)] for row, loss in runs.items())
