"""What RLHF does to generalisation and diversity: SFT, best-of-n and RL against one reward model, stage by stage.

"Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023). Supervised fine-tuning on demonstrations
or chosen answers; a reward model of preferences; best-of-n of SFT's samples by that model; RL from SFT against it at
several KL coefficients. All policies are sampled at the same temperature and top-p, on prompts as in training and on
shifted ones, and a judge that the policies were not trained on counts how often they beat a reference answer.

RL's reward is divided by its standard deviation among SFT's answers to one prompt, so that a KL coefficient means the
same everywhere: at coefficient b the optimum raises a normal reward by 1 / b standard deviations, 1 / (2 b^2) nats away
from SFT. Best-of-n is at most log n - (n - 1) / n nats away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.data.encoding import Encoded, Encoder
from polyculture.align.data.examples import prompt_text
from polyculture.align.job import Alignment
from polyculture.align.run import align
from polyculture.align.run_folder import MODEL, SUMMARY, open_run
from polyculture.align.watching.measures import make_reward
from polyculture.align.watching.samples import end_tokens, pad_token, sample_policy
from polyculture.errors import BadInput
from polyculture.files import locked, write_json
from polyculture.llm.loading import load, on_device
from polyculture.progress import Progress, silent
from polyculture.reproductions.run import one_thread
from polyculture.studies.best_of_n import best_of_n
from polyculture.studies.policy_comparison import (
    BEST,
    SFT,
    Place,
    Policy,
    claims_of,
    control_differences,
    length_notes,
    measured,
    nearest_to_best_of_n,
    win_values,
)
from polyculture.studies.policy_gradient import train_policy
from polyculture.studies.preference_reward import RewardModel, beats_chance, train_reward_model
from polyculture.studies.rlhf_data import (
    Inputs,
    Material,
    file_material,
    inputs,
    prompt_ids,
    synthetic_material,
)
from polyculture.studies.rlhf_findings import Found
from polyculture.studies.rlhf_judge import Judge, by_model, by_text
from polyculture.studies.rlhf_settings import TINY, RLHFStudy, make_measures
from polyculture.studies.word_wishes import SYNTHETIC, save_tiny_model

SCALING_PROMPTS, SCALING_SAMPLES = 128, 4
FEWEST_PAIRS = 10
Tokens = list[int]


def run_study(job: RLHFStudy, progress: Progress = silent) -> Found:
    """Run the study, or go on where it was stopped.

    Args:
        job: what is to be done.
        progress: told what is going on.

    Raises:
        BadInput: the data, model or settings can't be used, or the folder holds a study with other ones.
        RunLocked: another process works in the folder.
        KeyboardInterrupt: it was asked to stop; what is done is kept.
    """
    # Two threads on a model of ninety thousand weights mostly wait for each other.
    with locked(job.out), one_thread() if job.model == TINY else contextlib.nullcontext():
        open_run(job.out, job.settings(), fresh=job.fresh)
        found = _Run(job, progress).found()
        write_json(job.out / SUMMARY, found.to_dict())
        return found


class _Run:
    """The stages of one study."""

    def __init__(self, job: RLHFStudy, progress: Progress) -> None:
        self.job, self.progress = job, progress
        self.stages: dict[str, dict[str, Any]] = {}
        self.reused: list[str] = []
        # What is needed last is looked up first: a mistyped name should not be found after hours of training.
        self.measures = make_measures(job.embedder, job.nli)
        self.own_judge = None if job.judge is None else self._named_judge(job.judge)
        self.material = self._material()
        base = self._base()
        self.sft = self._stage("sft", lambda out: align(self._sft_job(base, out), self._of("SFT")).summary)
        self.model, self.tokenizer = load(str(self.sft), None, "float32")
        self.model = on_device(self.model, None).eval()
        window = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or job.max_length
        self.encoder = Encoder(self.tokenizer, min(job.max_length, window))
        self.room = job.rl.max_new_tokens
        self.places: dict[Place, Inputs] = {"inside": inputs(self.material.inside, self.encoder, self.room)}
        if self.material.outside:
            self.places["outside"] = inputs(self.material.outside, self.encoder, self.room)
        train = self.encoder.encode(self.material.examples)[0]
        self.prompts = prompt_ids(train, self.encoder.max_length, self.room)
        self.notes = list(self.material.notes)
        self._train_rewards(train)

    def found(self) -> Found:
        job = self.job
        reward = RewardModel(job.out / "reward" / MODEL)
        spread = self._spread(reward)

        def scaled(prompts: Sequence[Any], answers: Sequence[Any]) -> np.ndarray:
            return reward.score(prompts, answers) / spread

        outputs = {SFT: self._sampled(SFT, self.sft), BEST: self._best_of_n(reward)}
        coefficients: dict[str, float] = {}
        for kl in [*sorted(set(job.kl), reverse=True), *([job.control] if job.control is not None else [])]:
            name = f"RL, KL {kl:g}"
            settings = dataclasses.replace(job.rl, kl=kl, seed=job.seed)
            folder = self._stage(
                f"rl-{kl:g}",
                functools.partial(train_policy, str(self.sft), self.prompts, scaled, settings, progress=self.progress),
            )
            coefficients[name] = kl
            outputs[name] = self._sampled(name, folder)
        policies = self._measured(outputs, coefficients)
        rl = nearest_to_best_of_n(policies, job.control)
        control = None
        if job.control is not None:
            name = f"RL, KL {job.control:g}"
            control = name, control_differences(policies, name)
        best, learned = (policies[name].measured["inside"].wins.mean() for name in (BEST, rl))
        self.notes.append(
            f"The claims are of {rl}: of RL's policies its win rate in distribution ({learned:.1%}) is nearest to "
            f"best-of-n's ({best:.1%})."
        )
        self.notes += length_notes(policies)
        return Found(
            policies,
            claims_of(policies, rl),
            rl,
            control,
            self.judge_name,
            self.stages["reward"].get("accuracy"),
            self.stages,
            self.reused,
            [*self.notes, "Intervals are over inputs of one training each; give another --seed for other trainings."],
            [
                (given.prompts[0], {name: self._texts(held[place][0]) for name, held in outputs.items()})
                for place, given in self.places.items()
            ],
        )

    def _material(self) -> Material:
        job = self.job
        if job.data == SYNTHETIC:
            return synthetic_material(job.demonstrations, job.prompts, job.seed)
        return file_material(
            job.data,
            job.ood,
            prompts=job.prompts,
            seed=job.seed,
            reward=job.reward,
            limit=job.limit,
            split=job.split,
            progress=self.progress,
        )

    def _base(self) -> str:
        job = self.job
        if job.model != TINY:
            return job.model
        folder = job.out / "base"
        if not (folder / "tokenizer.json").exists():
            if job.data == SYNTHETIC:
                save_tiny_model(folder, seed=job.seed)
            else:
                from polyculture.llm.untrained import untrained_model

                for part in untrained_model(job.seed, context=job.max_length, width=64):
                    part.save_pretrained(folder)
        return str(folder)

    def _sft_job(self, base: str, out: Path) -> Alignment:
        job = self.job
        training = dataclasses.replace(job.sft, max_length=job.max_length, seed=job.seed)
        return Alignment(self.material.rows, base, out, objective="sft", held_out=0.0, training=training, watch=None)

    def _of(self, stage: str) -> Progress:
        """Progress that says which stage it is of."""
        return lambda what, done, total: self.progress(f"{stage}: {what}", done, total)

    def _stage(self, name: str, make: Callable[[Path], Any]) -> Path:
        """Run a stage unless it is there; the folder of its model."""
        out = self.job.out / name
        if (out / SUMMARY).exists():
            self.stages[name] = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
            self.reused.append(name)
        else:
            self.stages[name] = dict(make(out))
        return out / MODEL

    def _train_rewards(self, train: Sequence[Encoded]) -> None:
        job = self.job
        pairs = self._pairs(train)
        order = np.random.default_rng([job.seed, 5]).permutation(len(pairs))
        own_judge = job.judge is None and self.material.reward is None
        halves = np.array_split(order, 2) if own_judge else [order]
        for i, (name, half) in enumerate(zip(("reward", "judge"), halves, strict=False)):
            test, learn = np.split(half, [max(1, len(half) // 5)])
            training = dataclasses.replace(job.reward_training, seed=job.seed + i)
            self._stage(
                name,
                functools.partial(
                    train_reward_model,
                    self.sft,
                    [pairs[j] for j in learn],
                    training=training,
                    held_out=[pairs[j] for j in test],
                    pad=pad_token(self.tokenizer),
                    progress=self._of("reward model" if name == "reward" else "judge"),
                ),
            )
            self._doubt(name)
        self.judge, self.judge_name = self._judge(own_judge)

    def _doubt(self, name: str) -> None:
        """Note a reward model that tells held-out preferences no better than chance."""
        n, right = self.stages[name]["held_out"], self.stages[name]["accuracy"]
        if n and not beats_chance(right, n):
            what = "reward model" if name == "reward" else "judge"
            self.notes.append(
                f"The {what} has {right:.0%} of {n} held-out preferences right, which is not shown to be better than "
                f"chance: {'wins mean little' if name == 'judge' else 'best-of-n and RL follow little but noise'}."
            )

    def _pairs(self, train: Sequence[Encoded]) -> Sequence[Encoded]:
        """The data's preferences, or pairs of SFT's answers, the better one by the ground truth first."""
        if self.material.pairs:
            return train
        assert self.material.reward is not None
        path = self.job.out / "pairs.json"
        if not path.exists():
            rng = np.random.default_rng([self.job.seed, 6])
            some = rng.permutation(len(self.prompts))[: self.job.comparisons]
            drawn = self._draw(self.model, [self.prompts[i] for i in some], 2, seed=self.job.seed + 1)
            texts = [self._texts(both) for both in drawn]
            asked = [prompt_text(self.material.examples[i].prompt) for i in some]
            scores = [self.material.reward(asked, [both[side] for both in texts]) for side in (0, 1)]
            rows = [
                (self.prompts[i], *(both if a > b else both[::-1]))
                for i, both, a, b in zip(some, drawn, *scores, strict=True)
                if a != b
            ]
            if len(rows) < FEWEST_PAIRS:
                raise BadInput(
                    f"{self.material.reward_name} tells {len(rows)} of {len(some)} pairs of SFT's answers apart, which "
                    "is too few to learn a reward from; use one that is finer, or more comparisons"
                )
            write_json(path, rows)
        return [Encoded(p, (a, b), {}) for p, a, b in json.loads(path.read_text(encoding="utf-8"))]

    def _judge(self, own: bool) -> tuple[Judge, str]:
        if own:
            stage = self.stages["judge"]
            about = f"{stage['accuracy']:.0%} of {stage['held_out']} held-out ones right"
            model = RewardModel(self.job.out / "judge" / MODEL)
            return by_model(model), f"a reward model of preferences that the policies' one never saw (it has {about})"
        if self.own_judge is not None:
            return self.own_judge, str(self.job.judge)
        assert self.material.reward is not None
        return by_text(self.material.reward), self.material.reward_name

    def _named_judge(self, name: str) -> Judge:
        reward = make_reward(name)
        if reward is None:
            raise BadInput("--judge none leaves nothing to count wins with; name a scorer or a function")
        return by_text(reward)

    def _draw(self, model: Any, prompts: Sequence[Tokens], n: int, *, seed: int, shown: bool = False) -> Any:
        """Samples at temperature 1, or as all policies are ``shown``."""
        return sample_policy(
            model,
            prompts,
            n,
            max_new_tokens=self.room,
            temperature=self.job.temperature if shown else 1.0,
            top_p=self.job.top_p if shown else 1.0,
            seed=seed,
            end=end_tokens(model, self.tokenizer),
            pad=pad_token(self.tokenizer),
            batch_size=self.job.rl.at_once,
        )

    def _texts(self, ids: Sequence[Tokens]) -> list[str]:
        found: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return found

    def _spread(self, reward: RewardModel) -> float:
        """The standard deviation of the reward among SFT's answers to one prompt, over training prompts."""
        path = self.job.out / "spread.json"
        if not path.exists():
            prompts = self.prompts[:SCALING_PROMPTS]
            drawn = self._draw(self.model, prompts, SCALING_SAMPLES, seed=self.job.seed + 2)
            pairs = [(p, y) for p, of_prompt in zip(prompts, drawn, strict=True) for y in of_prompt]
            scores = reward.score([p for p, _ in pairs], [y for _, y in pairs]).reshape(len(prompts), -1)
            write_json(path, {"spread": max(float(np.sqrt(scores.var(axis=1, ddof=1).mean())), 1e-6)})
        return float(json.loads(path.read_text(encoding="utf-8"))["spread"])

    def _sampled(self, name: str, folder: Path) -> dict[str, Any]:
        """K outputs of a policy for every test prompt, as token ids, by place."""

        def draw() -> dict[str, Any]:
            model = self.model if folder == self.sft else on_device(load(str(folder), None, "float32")[0], None).eval()
            found: dict[str, Any] = {}
            for i, (place, held) in enumerate(self.places.items()):
                self.progress(f"sampling {name}", i, len(self.places))
                found[place] = self._draw(model, held.ids, self.job.samples, seed=self.job.seed, shown=True)
            return found

        return self._kept(name, draw)

    def _best_of_n(self, reward: RewardModel) -> dict[str, Any]:
        """For each of K outputs the best of n of SFT's answers, drawn from a pool."""
        job = self.job
        n, K = job.best_of, job.samples
        size = job.pool or n * K
        if size < n * K:
            self.notes.append(
                f"The {K} outputs of best-of-{n} are the best of sets drawn from {size} answers, which overlap: its "
                f"diversity is underestimated. A --pool of {n * K} lets none overlap."
            )

        def draw() -> dict[str, Any]:
            found: dict[str, Any] = {}
            at_once = max(1, job.rl.at_once // size)
            for place, held in self.places.items():
                rng = np.random.default_rng([job.seed, 7])
                kept: list[list[Tokens]] = []
                for start in range(0, len(held), at_once):
                    prompts = held.ids[start : start + at_once]
                    for prompt, answers in zip(
                        prompts, self._draw(self.model, prompts, size, seed=job.seed + 3, shown=True), strict=True
                    ):
                        scores = reward.score([prompt] * size, answers)
                        kept.append([answers[i] for i in best_of_n(scores, n, K, rng)])
                    self.progress(f"sampling {BEST}, {place}", len(kept), len(held))
                found[place] = kept
            return found

        return self._kept(BEST, draw)

    def _kept(self, name: str, draw: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.job.out / "samples" / f"{name.replace(',', '').replace(' ', '-').lower()}.json"
        if not path.exists():
            write_json(path, draw())
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return held

    def _measured(self, outputs: dict[str, dict[str, Any]], coefficients: dict[str, float]) -> dict[str, Policy]:
        started = time.time()
        texts = {
            (name, place): [self._texts(own) for own in held[place]]
            for name, held in outputs.items()
            for place in self.places
        }
        diversity = self.measures.of(texts)
        found = {}
        for name, held in outputs.items():
            by_place: dict[Place, Any] = {}
            for place, given in self.places.items():
                self.progress(f"judging {name}", 0, 1)
                flat = [ids for own in held[place] for ids in own]
                which = [i for i, own in enumerate(held[place]) for _ in own]
                said = [text for own in texts[name, place] for text in own]
                scores = self.judge(given, which, said, flat).reshape(len(given), -1)
                references = self.judge(given, range(len(given)), given.references, given.reference_ids)
                by_place[place] = measured(
                    win_values(scores, references), scores.mean(axis=1), texts[name, place], diversity[name, place]
                )
            stage = self.stages.get(f"rl-{coefficients[name]:g}") if name in coefficients else None
            kl = stage["kl"] if stage else 0.0 if name == SFT else None
            found[name] = Policy(name, by_place, kl, coefficients.get(name))
        self.stages["measuring"] = {"seconds": round(time.time() - started, 3)}
        return found
