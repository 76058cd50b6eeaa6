"""Top-H: a bound on the entropy keeps text coherent at temperatures where min-p and top-p fall apart.

Top-H Decoding: Adapting the Creativity and Coherence with Bounded Entropy in Text Generation (2025, arXiv:2509.02510).

The paper's accuracies come from models of billions of weights. What is tested here is the reason it gives for them, in
a language whose grammar is known: each context allows 1, 2, 4, 8 or 12 of 64 tokens, and the model's logits are
N(0, 0.5) on those and N(-4, 1) on the tail. Coherence is the probability that the next token is allowed, computed
exactly. At full scale a small Llama is also trained on sentences of such a language and sampled with ``generate``;
its figures are reported and not asserted, as the tail of a model that small depends on how long it is trained.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from polyculture.progress import Progress, silent
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

SLUG = "top-h"
SEEDS: Mapping[Scale, int] = {"smoke": 3, "full": 10}
CONTEXTS: Mapping[Scale, int] = {"smoke": 400, "full": 2000}
TEMPERATURES = (0.5, 1.0, 1.5, 2.0, 2.5)
VOCABULARY = 64
ALLOWED = (1, 2, 4, 8, 12)
LLAMA_STEPS = 400


def reproduce(*, scale: Scale, seed: int, progress: Progress = silent) -> Finding:
    """Coherence and entropy of five samplers over temperatures, and the greedy prefix beside the exact optimum."""
    start = time.monotonic()
    seeds = range(seed, seed + SEEDS[scale])
    with_tail: dict[str, list[np.ndarray]] = {}
    without_tail: dict[str, list[np.ndarray]] = {}
    entropies: dict[str, list[np.ndarray]] = {}
    ratios = []
    for done, this in enumerate(seeds):
        progress("samplers", done, len(seeds))
        rng = np.random.default_rng(this)
        for held, tail in ((with_tail, -4.0), (without_tail, -30.0)):
            allowed, logits = language(CONTEXTS[scale], tail, rng)
            for name, (coherence, entropy) in measure(logits, allowed).items():
                held.setdefault(name, []).append(coherence)
                if tail == -4.0:
                    entropies.setdefault(name, []).append(entropy)
        ratios.append(greedy_ratios(200, rng))

    at = {temperature: i for i, temperature in enumerate(TEMPERATURES)}
    table = {name: np.array(runs) for name, runs in with_tail.items()}  # (seeds, temperatures)
    values = {f"coherence of {n} at T = {t:g}": Interval.of(c[:, at[t]]) for n, c in table.items() for t in (1.0, 2.0)}
    values |= {f"entropy of {n} at T = 2": Interval.of(np.array(e)[:, at[2.0]]) for n, e in entropies.items()}
    values["greedy over optimal mass"] = Interval.of([r.mean() for r in ratios])
    values["smallest greedy over optimal mass"] = Interval.of([r.min() for r in ratios])
    control = {f"coherence of {n} at T = 0.5": Interval.of(c[:, at[0.5]]) for n, c in table.items()}
    control |= {
        f"worst coherence of {n} without a tail": Interval.of(np.array(c).min(axis=1)) for n, c in without_tail.items()
    }
    notes = ["top-H is more coherent at a price: its entropy at T = 2 is well below that of min-p and top-p."]
    if scale == "full":
        progress("training a small Llama", len(seeds), len(seeds))
        values |= llama_validity(seed)
        notes.append(
            "The small Llama's share of allowed tokens is reported, not asserted; its intervals are over sentences."
        )

    top_h, min_p, top_p = table["top-h"], table["min-p"], table["top-p"]
    cold = [table[name][:, at[0.5]].mean() for name in ("top-h", "min-p", "top-p")]
    checks = {
        "at T = 2 top-H beats min-p by more than 0.2": gap(top_h, min_p, at[2.0]) > 0.2,
        "at T = 2 top-H beats top-p by more than 0.2": gap(top_h, top_p, at[2.0]) > 0.2,
        "top-H loses less than 0.15 from T = 1 to 2": float((top_h[:, at[1.0]] - top_h[:, at[2.0]]).mean()) < 0.15,
        "min-p loses more than 0.3 from T = 1 to 2": float((min_p[:, at[1.0]] - min_p[:, at[2.0]]).mean()) > 0.3,
        "the greedy prefix holds more than 0.9 of the optimal mass": float(np.mean(ratios)) > 0.9,
        "control: at T = 0.5 all are within 0.02": max(cold) - min(cold) <= 0.02,
        "control: without a tail all are coherent": min(np.min(c) for c in without_tail.values()) > 0.99,
    }
    return Finding(
        slug=SLUG,
        claim="Bounding the entropy of the kept tokens keeps text coherent at high temperature, where min-p and top-p "
        "let the tail in; and the greedy prefix keeps nearly all the mass that any set under the bound could.",
        metric="probability that the next token is allowed (0 to 1), exact, averaged over contexts",
        values=values,
        control="a low temperature, and a model whose tail has no mass: nothing is left to cut",
        control_values=control,
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.monotonic() - start,
        plot=Plot(
            title="Coherence over temperature",
            x="temperature",
            y="probability of an allowed token",
            curves=[curve(name, runs) for name, runs in table.items()],
        ),
        notes=notes,
    )


def language(contexts: int, tail: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(contexts, V) which tokens a context allows, and a model's logits, both drawn afresh."""
    sizes = rng.choice(ALLOWED, size=contexts)
    ranks = rng.random((contexts, VOCABULARY)).argsort(axis=1).argsort(axis=1)
    allowed = ranks < sizes[:, None]
    noise = rng.normal(size=allowed.shape)
    return allowed, np.where(allowed, 0.5 * noise, tail + noise)


def samplers() -> dict[str, Any]:
    """Processors that take tempered scores; all but ours are transformers'."""
    from transformers import EtaLogitsWarper, MinPLogitsWarper, TopPLogitsWarper

    from polyculture.decode.top_h import TopH

    return {
        "temperature alone": lambda ids, scores: scores,
        "top-p": TopPLogitsWarper(0.9),
        "min-p": MinPLogitsWarper(0.1),
        "eta": EtaLogitsWarper(epsilon=2e-4),
        "top-h": TopH(0.4),
    }


def measure(logits: np.ndarray, allowed: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each sampler, coherence and entropy (nats) at every temperature, averaged over contexts."""
    import torch

    scores, valid = torch.from_numpy(logits), torch.from_numpy(allowed)
    found = {}
    for name, sampler in samplers().items():
        q = [torch.softmax(sampler(None, scores / t), dim=-1) for t in TEMPERATURES]
        coherence = np.array([float((p * valid).sum(-1).mean()) for p in q])
        entropy = np.array([float(torch.special.entr(p).sum(-1).mean()) for p in q])
        found[name] = (coherence, entropy)
    return found


def greedy_ratios(count: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy over optimal mass for random distributions over ten tokens."""
    from polyculture.decode.top_h import entropy_constrained_mass

    return np.array([entropy_constrained_mass(p, 0.4).ratio for p in rng.dirichlet(np.full(10, 0.6), size=count)])


def llama_validity(seed: int) -> dict[str, Interval]:
    """Share of allowed tokens in what a small Llama, trained on sentences of the language, generates at T = 2."""
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
    )

    from polyculture.decode.top_h import TopH

    rng = np.random.default_rng(seed)
    allowed, _ = language(VOCABULARY, -4.0, rng)  # a token's context is the token before it
    text = rng.integers(VOCABULARY, size=(2048, 1))
    for _ in range(31):
        weight = rng.random((len(text), VOCABULARY)) * allowed[text[:, -1]]
        text = np.concatenate([text, weight.argmax(axis=1)[:, None]], axis=1)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    found = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(LLAMA_STEPS):
            batch = torch.from_numpy(text[rng.integers(len(text), size=64)])
            loss = model(batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        hot = TemperatureLogitsWarper(2.0)
        for name, chain in {
            "top-p": [hot, TopPLogitsWarper(0.9)],
            "min-p": [hot, MinPLogitsWarper(0.1)],
            "top-h": [hot, TopH(0.4)],
        }.items():
            made = model.generate(
                torch.from_numpy(rng.integers(VOCABULARY, size=(256, 1))),
                max_new_tokens=24,
                do_sample=True,
                top_k=0,
                logits_processor=LogitsProcessorList(chain),
            ).numpy()
            share = allowed[made[:, :-1], made[:, 1:]].mean(axis=1)
            found[f"allowed tokens of a small Llama, {name} at T = 2"] = Interval.of(share)
    return found


def gap(a: np.ndarray, b: np.ndarray, column: int) -> float:
    """Mean difference at one temperature."""
    return float((a[:, column] - b[:, column]).mean())


def curve(name: str, runs: np.ndarray) -> Curve:
    """One sampler's coherence with its interval over seeds."""
    spread = [Interval.of(column) for column in runs.T]
    return Curve(
        name, TEMPERATURES, [s.mean for s in spread], low=[s.low for s in spread], high=[s.high for s in spread]
    )
