"""Self-contrast: lower-ranked experts say less true things, and contrast helps when they err the way the model errs.

Unchosen Experts Can Contribute Too: Unleashing MoE Models' Power by Self-Contrast (2024, arXiv:2405.14507).

The paper's gains (GSM8K 61.8 to 66.9) come from Mixtral 8x7B. Two things can be tested small:

A. Its findings about routing, on a small Mixtral trained here to predict (a + b + c) modulo a number: running every
   expert is worse than running the two the gate picks, and routing by a lower rank alone moves the distribution further
   than routing by the first rank alone. Self-contrast on this model is reported and not asserted: a model trained to do
   one thing with two experts has weak passes that know next to nothing, and contrast with noise gains nothing.
B. Its mechanism, on logits whose truth is known: the weak pass shares the strong pass's systematic error to a degree
   rho. Contrast must help at rho = 1 and must hurt at rho = 0, where there is no shared error to subtract.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from polyculture.progress import Progress, silent
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

SLUG = "scmoe"
MODULUS: Mapping[Scale, int] = {"smoke": 7, "full": 13}
STEPS: Mapping[Scale, int] = {"smoke": 160, "full": 600}
BATCH: Mapping[Scale, int] = {"smoke": 64, "full": 256}
ITEMS: Mapping[Scale, int] = {"smoke": 5_000, "full": 20_000}
MODELS: Mapping[Scale, int] = {"smoke": 1, "full": 3}
BETAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
RHOS = (1.0, 0.5, 0.0)
EXPERTS = 8


def reproduce(*, scale: Scale, seed: int, progress: Progress = silent) -> Finding:
    """Accuracies and divergences of routings of a small Mixtral, and accuracies of contrast on made-up logits."""
    start = time.monotonic()
    runs = []
    for done in range(MODELS[scale]):
        progress("training a small Mixtral", done, MODELS[scale])
        runs.append(routing_study(scale, seed + done))
    made_up = [contrast_study(np.random.default_rng(seed + i), ITEMS[scale]) for i in range(5)]

    values = {name: Interval.of([run[name] for run in runs]) for name in runs[0]}
    gains = {(rho, beta): np.array([study[rho, beta] for study in made_up]) for rho in RHOS for beta in BETAS}
    for beta in (0.0, 0.5, 0.9):
        values[f"made-up logits, shared error: accuracy at beta = {beta:g}"] = Interval.of(gains[1.0, beta])
    averaged = np.array([study["averaged"] for study in made_up])
    greedy = np.array([study["greedy"] for study in made_up])
    control = {
        f"made-up logits, rho = {rho:g}: accuracy at beta = {beta:g}": Interval.of(gains[rho, beta])
        for rho in (0.5, 0.0)
        for beta in (0.5, 0.9)
    }
    control["made-up logits, shared error: accuracy of the average of both passes"] = Interval.of(averaged)

    lower = [values[f"KL to rank {k}"].mean for k in range(2, EXPERTS + 1)]
    checks = {
        "all experts are less accurate than the two best": values["accuracy of all experts"].mean
        < values["accuracy of the two best experts"].mean,
        "lower ranks diverge more than the first": float(np.mean(lower)) > values["KL to rank 1"].mean,
        "contrast gains more than 0.1 if the error is shared": float((gains[1.0, 0.9] - gains[1.0, 0.0]).mean()) > 0.1,
        "control: contrast hurts if half the error is shared": float((gains[0.5, 0.9] - gains[0.5, 0.0]).mean()) < 0,
        "control: contrast hurts if no error is shared": float((gains[0.0, 0.9] - gains[0.0, 0.0]).mean()) < 0,
        "control: the average of both passes is worse than the strong one": float((averaged - greedy).mean()) < 0,
        "control: without contrast it is greedy": bool((gains[1.0, 0.0] == greedy).all()),
    }
    return Finding(
        slug=SLUG,
        claim="Experts the gate does not choose carry a signal: routing to lower ranks moves predictions further from "
        "the model's, more experts are not better, and contrast with a weak pass that shares the strong one's errors "
        "raises accuracy.",
        metric="accuracy (0 to 1) and Kullback-Leibler divergence (nats)",
        values=values,
        control="a weak pass that errs independently of the strong one; the average of both in place of the contrast",
        control_values=control,
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.monotonic() - start,
        plot=Plot(
            title="Contrast on made-up logits",
            x="beta",
            y="accuracy",
            curves=[
                Curve(f"shared error rho = {rho:g}", BETAS, [float(gains[rho, b].mean()) for b in BETAS])
                for rho in RHOS
            ],
        ),
        notes=(
            "Accuracy of self-contrast on the small Mixtral is reported, not asserted: its weak passes know little.",
        ),
    )


def routing_study(scale: Scale, seed: int) -> dict[str, float]:
    """Train a Mixtral on (a + b + c) mod m from "a b c =", then measure it under every routing on held-out triples."""
    import torch

    from polyculture.decode.scmoe import contrast, rank_divergence
    from polyculture.llm.routing import routing

    modulus = MODULUS[scale]
    rng = np.random.default_rng(seed)
    triples = rng.permutation(np.array(list(itertools.product(range(modulus), repeat=3))))
    sequences = torch.from_numpy(np.c_[triples, np.full(len(triples), modulus), triples.sum(axis=1) % modulus])
    n_train = round(len(triples) * 1500 / 2197)
    train, test = sequences[:n_train], sequences[n_train:]
    model = trained_mixtral(train, modulus + 1, STEPS[scale], BATCH[scale], seed)

    @torch.no_grad()
    def logits(ranks: list[int] | None = None) -> torch.Tensor:
        if ranks is None:
            return model(test[:, :4]).logits[:, -1]
        with routing(model, ranks):
            return model(test[:, :4]).logits[:, -1]

    def accuracy(z: torch.Tensor) -> float:
        return float((z.argmax(-1) == test[:, 4]).float().mean())

    strong = logits()
    weak = {k: logits([k]) for k in range(1, EXPERTS + 1)}
    found = {
        "accuracy of the two best experts": accuracy(strong),
        "accuracy of all experts": accuracy(logits(list(range(1, EXPERTS + 1)))),
    }
    found |= {f"accuracy of rank {k} alone": accuracy(z) for k, z in weak.items()}
    divergence = rank_divergence(model, test[:, :4])[..., -1].mean(dim=1)
    found |= {f"KL to rank {k}": float(divergence[k - 1]) for k in range(1, EXPERTS + 1)}
    found |= {
        f"accuracy of self-contrast, beta = {b:g}": accuracy(contrast(strong, weak[2], beta=b)) for b in (0.1, 0.5)
    }
    return found


def trained_mixtral(train: Any, vocabulary: int, steps: int, batch: int, seed: int) -> Any:
    """Two layers of width 48 with eight experts, two of them active, and the load-balancing loss of transformers."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_local_experts=EXPERTS,
        num_experts_per_tok=2,
        max_position_embeddings=8,
        sliding_window=None,
        output_router_logits=True,
        router_aux_loss_coef=0.01,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MixtralForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
        labels = train.clone()
        labels[:, :-1] = -100
        for _ in range(steps):
            rows = torch.randint(len(train), (batch,))
            loss = model(train[rows], labels=labels[rows]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def contrast_study(rng: np.random.Generator, items: int, classes: int = 50) -> dict[Any, float]:
    """Accuracy of contrast where strong and weak logits see the truth and err together to the degree rho."""
    import torch

    from polyculture.decode.scmoe import contrast

    truth = rng.integers(classes, size=items)
    onehot = np.eye(classes)[truth]
    error = 1.6 * rng.normal(size=(items, classes))
    fresh = 1.6 * rng.normal(size=(items, classes))
    strong = 3.2 * onehot + error + 0.7 * rng.normal(size=error.shape)
    noise = 0.7 * rng.normal(size=error.shape)
    found: dict[Any, float] = {"greedy": float((strong.argmax(axis=1) == truth).mean())}
    for rho in RHOS:
        weak = 1.2 * onehot + rho * error + np.sqrt(1 - rho**2) * fresh + noise
        for beta in BETAS:
            z = contrast(torch.from_numpy(strong), torch.from_numpy(weak), beta=beta)
            found[rho, beta] = float((z.argmax(-1).numpy() == truth).mean())
        if rho == 1.0:
            found["averaged"] = float(((strong + weak).argmax(axis=1) == truth).mean())
    return found
