from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from polyculture.decode import BeamSearch, EntropicParticleFilter, ParticleFilter
from polyculture.decode.particles import (
    annealing_temperature,
    beam_search,
    effective_sample_size,
    multinomial_resampling,
    normalised_entropy,
    particle_filter,
    prm_log_weights,
    systematic_resampling,
    tempered_probabilities,
)
from polyculture.errors import BadInput
from polyculture.llm.base import Sampling
from polyculture.llm.scripted import ScriptedLLM

Prefix = tuple[int, ...]


def digits(rng: np.random.Generator):  # type: ignore[no-untyped-def]
    def propose(prefixes: Sequence[Prefix], t: int) -> list[tuple[int, bool]]:
        return [(int(d), t == 4) for d in rng.integers(10, size=len(prefixes))]

    return propose


def mean_digit(prefixes: Sequence[Prefix]) -> list[float]:
    return [float(np.mean(p)) / 9 for p in prefixes]


def test_log_weights() -> None:
    assert prm_log_weights([0.5]).tolist() == [0.0]
    assert np.isfinite(prm_log_weights([0.0, 1.0])).all()
    with pytest.warns(UserWarning, match="NaN"):
        assert prm_log_weights([float("nan")]).tolist() == [0.0]
    with pytest.raises(BadInput, match="outside"):
        prm_log_weights([1.2])


def test_ess_and_entropy_at_the_ends() -> None:
    assert effective_sample_size([0.25] * 4) == pytest.approx(4)
    assert normalised_entropy([0.25] * 4) == pytest.approx(1)
    assert normalised_entropy([0.5, 0.5]) == pytest.approx(1)
    assert effective_sample_size([1, 0, 0]) == pytest.approx(1, abs=1e-5)
    assert normalised_entropy([1.0]) == pytest.approx(0, abs=1e-6)


def test_temperature() -> None:
    collapsed = [0.97, 0.01, 0.01, 0.01]
    assert annealing_temperature([0.25] * 4, 1, 10) == 1.0  # not collapsing
    assert annealing_temperature(collapsed, 5, 10) == 1.0  # not early any more
    assert annealing_temperature([1.0], 1, 10) == 1.0
    hot = [annealing_temperature(collapsed, t, 10) for t in range(1, 5)]
    assert hot == sorted(hot, reverse=True) and hot[-1] > 1
    assert annealing_temperature(collapsed, 1, 10, method="base") == 1.9
    with pytest.raises(BadInput, match="annealing"):
        annealing_temperature(collapsed, 1, 10, method="esss")  # type: ignore[arg-type]


def test_tempering_flattens() -> None:
    cold, hot = tempered_probabilities([0, 2], 1), tempered_probabilities([0, 2], 10)
    assert cold[1] > hot[1] > 0.5
    assert tempered_probabilities([-np.inf, -np.inf]).tolist() == [0.5, 0.5]
    with pytest.raises(BadInput):
        tempered_probabilities([0.0], 0)


def test_resampling_keeps_what_its_scheme_promises() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.dirichlet(np.ones(8))
        kept = np.bincount(systematic_resampling(p, float(rng.random())), minlength=8)
        assert (kept >= np.floor(8 * p)).all() and (kept <= np.ceil(8 * p)).all()
    assert systematic_resampling([0.1] * 9 + [0.09], 0.999999, 10).max() == 9  # short of 1 by rounding
    drawn = multinomial_resampling([0.2, 0.8], rng, 5000)
    assert np.mean(drawn == 1) == pytest.approx(0.8, abs=0.03)


def test_filter_finds_better_paths_than_no_resampling() -> None:
    values = {}
    for resampling in ("systematic", "multinomial", "none"):
        got = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            run = particle_filter(digits(rng), mean_digit, 8, max_steps=4, rng=rng, resampling=resampling)  # type: ignore[arg-type]
            got.append(np.mean(run.particles[run.chosen]))
            assert all(run.stopped) and len(run.log) == 4
        values[resampling] = np.mean(got)
    assert values["systematic"] > values["none"] and values["multinomial"] > values["none"]


def test_weights_are_replaced_not_accumulated() -> None:
    rng = np.random.default_rng(0)
    run = particle_filter(digits(rng), mean_digit, 4, max_steps=4, rng=rng)
    assert np.allclose(run.log_weights, prm_log_weights(mean_digit(run.particles)))  # type: ignore[arg-type]


def test_stopped_particles_stay_and_take_part() -> None:
    def propose(prefixes: Sequence[Prefix], t: int) -> list[tuple[int, bool]]:
        return [(i, i % 2 == 0) for i in range(len(prefixes))]

    run = particle_filter(propose, lambda prefixes: [0.5] * len(prefixes), 4, max_steps=3, rng=0)
    lengths = {len(p) for p, stopped in zip(run.particles, run.stopped, strict=True) if stopped}
    assert 1 in lengths


def test_look_ahead_takes_the_step_it_tried() -> None:
    calls = []

    def propose(prefixes: Sequence[Prefix], t: int) -> list[tuple[int, bool]]:
        calls.append(len(prefixes))
        return [(t, False) for _ in prefixes]

    run = particle_filter(propose, lambda prefixes: [0.5] * len(prefixes), 3, max_steps=4, rng=0, look_ahead=True)
    assert all(p == (1, 2, 3, 4) for p in run.particles)
    assert sum(calls) == 3 * 4  # no call is wasted


def test_one_particle_and_sampled_selection() -> None:
    run = particle_filter(digits(np.random.default_rng(0)), mean_digit, 1, max_steps=4, rng=0, annealing="ess")
    assert run.chosen == 0 and all(entry.temperature == 1 for entry in run.log)
    chosen = {
        particle_filter(digits(np.random.default_rng(1)), mean_digit, 8, max_steps=1, rng=s, selection="sample").chosen
        for s in range(20)
    }
    assert len(chosen) > 1


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        particle_filter(digits(np.random.default_rng(0)), mean_digit, 0, max_steps=4)
    with pytest.raises(BadInput, match="shape"):
        particle_filter(digits(np.random.default_rng(0)), lambda prefixes: [0.5], 3, max_steps=4)
    with pytest.raises(BadInput, match="2 prefixes but 1 proposed"):
        particle_filter(lambda prefixes, t: [(0, False)], lambda p: [0.5] * len(p), 2, max_steps=4)
    with pytest.raises(BadInput, match="width"):
        beam_search(digits(np.random.default_rng(0)), mean_digit, 4, width=0, max_steps=2)


def test_beam_search_keeps_the_best() -> None:
    seen: list[list[Prefix]] = []
    rng = np.random.default_rng(0)

    def score(prefixes: Sequence[Prefix]) -> list[float]:
        seen.append(list(prefixes))
        return mean_digit(prefixes)

    beam_search(digits(rng), score, 8, width=4, max_steps=3)
    best = sorted(seen[0], key=lambda p: -np.mean(p))[:2]
    assert {p[:1] for p in seen[1]} == set(best)
    assert all(sum(p[:1] == b for p in seen[1]) == 4 for b in best) or best[0] == best[1]


STEPS = ["I have 3.", "Twice that.", "A: 6"]


def stepper(prompt, index, rng):  # type: ignore[no-untyped-def]
    done = sum(step in prompt for step in STEPS)
    return "\n\n".join(STEPS[done:])


@pytest.mark.parametrize("strategy", [ParticleFilter(), EntropicParticleFilter(look_ahead=True), BeamSearch(width=2)])
def test_a_model_goes_step_by_step(strategy: ParticleFilter) -> None:
    answer = strategy.answer(ScriptedLLM(stepper), "how many?", 4, seed=0)
    assert answer.text == "\n\n".join(STEPS) and answer.key == "6"
    assert [c.details["steps"] for c in answer.trace.candidates] == [3] * 4
    assert [s.details["t"] for s in answer.trace.steps if s.name == "resample"] == [1, 2, 3]
    assert answer.cost.calls == 12


def test_process_reward_decides() -> None:
    def reply(prompt, index, rng):  # type: ignore[no-untyped-def]
        return f"A: {index}"

    def reward(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        return [0.9 if r == "A: 2" else 0.1 for r in responses]

    answer = EntropicParticleFilter(score=reward).answer(ScriptedLLM(reply), "?", 4, seed=0)
    assert answer.key == "2" and answer.cost.scored == 4


def test_chat_prompts_and_cut_steps() -> None:
    def reply(prompt, index, rng):  # type: ignore[no-untyped-def]
        return "one two three four"

    chat = [{"role": "user", "content": "?"}]
    llm = ScriptedLLM(reply)
    answer = ParticleFilter(max_steps=2).answer(llm, chat, 1, sampling=Sampling(max_tokens=2), seed=0)
    assert answer.text == "one two\n\none two" and answer.trace.candidates[0].finish_reason == "length"
    assert [m["role"] for m in llm.prompts[1]] == ["user", "assistant", "user"]


def test_reranking_draws_by_odds_when_asked() -> None:
    from polyculture.decode.base import Candidate

    pool = [Candidate("A: 1", score=0.9), Candidate("A: 2", score=0.1)]
    strategy = ParticleFilter(selection="sample")
    keys = [strategy.rerank(pool, seed=s).key for s in range(400)]
    assert np.mean([key == "1" for key in keys]) == pytest.approx(81 / 82, abs=0.03)
