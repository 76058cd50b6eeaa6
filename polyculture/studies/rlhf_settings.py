"""What the study of RLHF is told: data, models, how long each stage trains, and how policies are sampled."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyculture.align.training import Training
from polyculture.errors import BadInput
from polyculture.files import content_hash, plain
from polyculture.studies.policy_comparison import Measures
from polyculture.studies.policy_gradient import PolicyGradient
from polyculture.studies.word_wishes import SYNTHETIC

TINY = "tiny"


@dataclass(frozen=True)
class Lengths:
    """How long and how fast the stages train.

    Args:
        sft_epochs: passes of SFT over the demonstrations or chosen answers.
        sft_learning_rate: its highest.
        reward_epochs: passes of the reward model over the comparisons.
        reward_learning_rate: its highest.
        batch_size: of both.
        rl_steps: batches of RL.
        rl_prompts: prompts of each, with four answers to every one.
        rl_learning_rate: its highest.
        max_length: most tokens of a prompt and an answer.
        max_new_tokens: most tokens of an answer.
    """

    sft_epochs: float
    sft_learning_rate: float
    reward_epochs: float
    reward_learning_rate: float
    batch_size: int
    rl_steps: int
    rl_prompts: int
    rl_learning_rate: float
    max_length: int
    max_new_tokens: int


SYNTHETIC_LENGTHS = Lengths(6, 3e-3, 3, 1e-3, 64, 150, 64, 1e-3, 32, 8)
UNTRAINED_LENGTHS = Lengths(3, 1e-3, 2, 1e-3, 8, 50, 16, 5e-4, 256, 32)
LENGTHS = Lengths(1, 3e-5, 1, 1e-5, 8, 500, 64, 1.5e-6, 512, 48)
"""Epochs, rates and new tokens of a language model are the paper's."""


@dataclass(frozen=True)
class RLHFStudy:
    """What is to be done.

    Args:
        out: folder of the study; the same call goes on in it.
        data: preferences or demonstrations, or "word-wishes", a task with a known reward.
        model: folder or hub id of a causal language model; "tiny" makes a small untrained one.
        ood: data with shifted prompts.
        reward: ground truth: a quality scorer or python:module:function; needed with demonstrations.
        judge: what counts wins: as ``reward``; None is the ground truth, or, where there is none, a second reward model
            of preferences that the first one never saw.
        demonstrations: of the synthetic task.
        comparisons: pairs of SFT's answers that the ground truth compares, where the data hold no preferences.
        limit: read the first so many rows of the data only.
        prompts: to test on, in and out of distribution each; the paper's 500.
        samples: K, outputs an input.
        best_of: n of best-of-n.
        pool: answers that the K times n of best-of-n are drawn from; None takes K n, so that no two share one.
        kl: KL coefficients of RL.
        control: one more, so large that RL can't leave SFT; None leaves it out.
        temperature: of all policies' outputs; RL itself samples at 1.
        top_p: of all policies' outputs.
        max_length: most tokens of a prompt and an answer.
        sft: how SFT is trained.
        reward_training: how reward models are trained.
        rl: how RL is trained, its KL coefficient aside.
        embedder: of the cosine diversity; "none" leaves it out.
        nli: function of pairs of texts -> labels with scores, for the NLI diversity; None leaves it out.
        split: of a hub data set.
        seed: of everything random.
        fresh: remove what an earlier study left in the folder.
    """

    out: Path
    data: str = SYNTHETIC
    model: str = TINY
    ood: str | None = None
    reward: str | None = None
    judge: str | None = None
    demonstrations: int = 8000
    comparisons: int = 4000
    limit: int | None = None
    prompts: int = 100
    samples: int = 16
    best_of: int = 16
    pool: int | None = None
    kl: tuple[float, ...] = (0.5, 0.2, 0.05)
    control: float | None = 1000.0
    temperature: float = 1.0
    top_p: float = 1.0
    max_length: int = 512
    sft: Training = field(default_factory=lambda: Training(learning_rate=3e-5))
    reward_training: Training = field(default_factory=lambda: Training(learning_rate=1e-5))
    rl: PolicyGradient = field(default_factory=PolicyGradient)
    embedder: str = "tfidf"
    nli: str | None = None
    split: str = "train"
    seed: int = 0
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.samples < 2 or self.prompts < 2 or self.best_of < 2:
            raise BadInput("the study needs 2 prompts, 2 samples of each and best of 2, or more")
        if not self.kl or any(not 0 < b < float("inf") for b in self.kl):
            raise BadInput(f"KL coefficients should be one or more finite numbers above 0, not {self.kl}")
        for name, what in (("reward", "a reward"), ("ood", "shifted prompts")):
            if self.data == SYNTHETIC and getattr(self, name) is not None:
                raise BadInput(f"{SYNTHETIC} has {what} of its own; leave --{name} out, or give data of yours")
        if self.control in self.kl:
            raise BadInput(
                f"the control's KL coefficient {self.control:g} is also one of those studied; give another, or none"
            )
        if self.pool is not None and self.pool < self.best_of:
            raise BadInput(f"a pool of {self.pool} answers is smaller than best of {self.best_of}; make it larger")
        if not self.temperature > 0 or not 0 < self.top_p <= 1:
            raise BadInput("temperature should be above 0 and top_p in (0, 1]: greedy outputs have no diversity")

    def settings(self) -> dict[str, Any]:
        """What policies and their outputs depend on.

        The same folder can be measured with other metrics and gain policies of other KL coefficients, each of which has
        a folder of its own.
        """
        free = ("out", "fresh", "embedder", "nli", "kl", "control")
        held = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in free}
        for name in ("sft", "reward_training", "rl"):
            held[name] = dataclasses.asdict(held[name])
        for name in ("data", "ood"):
            if held[name] is not None and Path(held[name]).exists():
                held[f"{name}_hash"] = content_hash(Path(held[name]))
        found: dict[str, Any] = plain({"study": "rlhf-diversity", **held})
        return found


def make_study(out: Path, *, data: str = SYNTHETIC, model: str = TINY, **given: Any) -> RLHFStudy:
    """A study whose lengths are what the data and the model need, save for what is given.

    Args:
        out: folder of the study.
        data: see RLHFStudy.
        model: see RLHFStudy.
        given: anything else of RLHFStudy or Lengths, by name; None stands for what is usual.
    """
    usual = (
        SYNTHETIC_LENGTHS if data == SYNTHETIC and model == TINY else UNTRAINED_LENGTHS if model == TINY else LENGTHS
    )
    told = {name: value for name, value in given.items() if value is not None or name in ("control", "pool")}
    names = {f.name for f in dataclasses.fields(Lengths)}
    held = dataclasses.replace(usual, **{name: told.pop(name) for name in names & told.keys()})
    return RLHFStudy(
        out,
        data=data,
        model=model,
        max_length=held.max_length,
        sft=Training(epochs=held.sft_epochs, learning_rate=held.sft_learning_rate, batch_size=held.batch_size),
        reward_training=Training(
            epochs=held.reward_epochs, learning_rate=held.reward_learning_rate, batch_size=held.batch_size
        ),
        rl=PolicyGradient(
            steps=held.rl_steps,
            prompts=held.rl_prompts,
            learning_rate=held.rl_learning_rate,
            minibatch=2 * held.rl_prompts if model == TINY else max(2, held.batch_size),
            at_once=256 if model == TINY else 32,
            max_new_tokens=held.max_new_tokens,
        ),
        **told,
    )


def make_measures(embedder: str = "tfidf", nli: str | None = None) -> Measures:
    """What outputs are measured with: the paper's metrics, and those of an embedder and an NLI function by name.

    Args:
        embedder: of the cosine diversity; "none" leaves it out.
        nli: function of pairs of texts -> labels with scores; None leaves it out.

    Raises:
        BadInput: the embedder or the function can't be had.
        UnknownMethod: there is no such embedder.
    """
    from polyculture.measure.per_input import default_metrics, nli_diversity
    from polyculture.space.embedders import make_embedder

    metrics = default_metrics()
    if nli is not None:
        from polyculture.functions import named_function

        classify = named_function(nli)
        metrics["nli"] = lambda texts: nli_diversity(texts, classify)
    return Measures(metrics, None if embedder == "none" else make_embedder(embedder))
