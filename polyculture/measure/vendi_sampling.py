"""Vendi Sampling: replicas of a molecule, or of anything with an energy, that push each other apart.

Pasarkar & Dieng, Cousins of the Vendi Score (2023), Vendi Sampling: overdamped Langevin dynamics of n replicas under
the energy and, with strength nu, the log of their Vendi score; nu is annealed to 0, so that the end is unbiased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from polyculture.errors import BadInput
from polyculture.measure.vendi_torch import vendi_score
from polyculture.progress import Progress, silent

FAR = 1e15


def itself(x: torch.Tensor) -> torch.Tensor:
    """The coordinates as they are: for systems without symmetries."""
    return x


@dataclass(frozen=True)
class VendiSampling:
    """Langevin steps x <- x - eta (grad U(x) - nu grad ln VS_q) + sqrt(2 eta kT) noise, for all replicas at once.

    The paper's schedule is not claimed here: step, strength and annealing are the user's to set.

    Args:
        energy: (n, ...) replicas -> (n,) energies U, differentiable.
        q: the order of the score; large orders mix fast at first, small ones are slow to converge.
        nu: strength of the bias at the first step, in units of energy; 0 is plain Langevin dynamics.
        anneal: steps over which nu falls linearly to 0; 0 keeps it.
        eta: step size.
        kT: temperature, in units of energy.
        gamma: of the RBF kernel on the descriptor; None is 1 / median squared distance, at each step.
        descriptor: (n, ...) replicas -> (n, m) coordinates that don't change under the symmetries of the system.
    """

    energy: Callable[[torch.Tensor], torch.Tensor]
    q: float = 1.0
    nu: float = 1.0
    anneal: int = 0
    eta: float = 1e-3
    kT: float = 1.0
    gamma: float | None = None
    descriptor: Callable[[torch.Tensor], torch.Tensor] = itself

    def __post_init__(self) -> None:
        if self.eta <= 0 or self.kT < 0 or self.anneal < 0 or self.nu < 0:
            raise BadInput("eta should be positive, and kT, nu and anneal not negative")

    def strength(self, step: int) -> float:
        """The bias at a step, counted from 0."""
        return self.nu * max(0.0, 1 - step / self.anneal) if self.anneal else self.nu

    def force(self, x: torch.Tensor, nu: float) -> torch.Tensor:
        """The force -grad U + nu grad ln VS_q on each replica, of the shape of x."""
        x = x.detach().requires_grad_(True)
        objective = -self.energy(x).sum()
        if nu > 0 and len(x) > 1:
            score = vendi_score(self.descriptor(x).reshape(len(x), -1), self.q, kernel="rbf", gamma=self.gamma)
            objective = objective + nu * torch.log(score)
        (force,) = torch.autograd.grad(objective, x)
        return force

    def steps(self, x: torch.Tensor, generator: torch.Generator | None = None) -> Iterator[torch.Tensor]:
        """Without end: the replicas after each step.

        Args:
            x: (n, ...) replicas to start from.
            generator: of the noise.
        """
        step = 0
        while True:
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            x = x + self.eta * self.force(x, self.strength(step)) + (2 * self.eta * self.kT) ** 0.5 * noise
            # Squared distances overflow before coordinates do, hence the margin.
            if not bool((x.abs() < FAR).all()):
                raise BadInput(f"replicas diverge at step {step + 1}; lower eta (now {self.eta}) or nu (now {self.nu})")
            step += 1
            yield x

    def run(
        self,
        x: torch.Tensor,
        n_steps: int,
        *,
        every: int = 1,
        generator: torch.Generator | None = None,
        progress: Progress = silent,
    ) -> torch.Tensor:
        """The trajectory of n_steps steps, (n_steps // every, n, ...).

        Args:
            x: (n, ...) replicas to start from.
            n_steps: how many steps.
            every: keep one frame in so many.
            generator: of the noise.
            progress: called after each kept frame.

        Raises:
            BadInput: the step is too long and the replicas diverge.
        """
        if n_steps < 1 or every < 1 or len(x) == 0:
            raise BadInput("n_steps and every should be 1 or more, and there should be a replica")
        frames = []
        for step, frame in enumerate(self.steps(x, generator), start=1):
            if step % every == 0:
                frames.append(frame)
                progress("langevin", step, n_steps)
            if step == n_steps:
                break
        return torch.stack(frames) if frames else x.new_zeros((0, *x.shape))
