from __future__ import annotations

import numpy as np
import pytest
import torch

from polyculture.errors import BadInput, UnknownMethod
from polyculture.studies.examples import Example
from polyculture.studies.sequence_models import END, IGNORED, SEPARATOR, Coding, Trained, Training, make_model, train

SHORT = Example("ab", "a", "", "b")
LONG = Example("abc", "b", "cc", "accc")


@pytest.mark.parametrize("model", ["encoder", "gpt2"])
def test_no_place_is_asked_to_tell_the_output_before_it_can(model: str) -> None:
    coding = Coding([SHORT, LONG], model)  # type: ignore[arg-type]
    inputs, targets = coding([SHORT, LONG])
    assert inputs.shape == targets.shape == (2, coding.length)
    if model == "encoder":
        # x takes one place, y two, s and the output four.
        assert coding.length == 7 and (targets[:, :3] == IGNORED).all() and (targets[:, 3:] != IGNORED).all()
        assert inputs[0].tolist() == [coding.of["a"], 0, 0, coding.of["a"], coding.of["b"], 0, 0]
        assert targets[0, 3:].tolist() == [coding.of["b"], 0, 0, 0]
    else:
        asked = np.flatnonzero(targets[0] != IGNORED)
        assert inputs[0, asked[0]] == SEPARATOR and targets[0, asked].tolist() == [coding.of["b"], END]
        # What is asked for at a place stands in the input one place on.
        np.testing.assert_array_equal(inputs[0, asked + 1], targets[0, asked])


def test_one_forward_pass_tells_what_greedy_decoding_writes() -> None:
    examples = [Example(s, "a", "b", s.replace("a", "b", 1)) for s in ("abc", "bca", "cab", "aab", "cca", "acc")]
    coding = Coding(examples, "gpt2")
    trained = train(
        examples, coding, Training.of("gpt2", width=16, heads=2, layers=1, steps=60, learning_rate=1e-2), seed=0
    )
    right = trained.right(examples)
    letters = {i: letter for letter, i in coding.of.items()}
    for example, known in zip(examples, right, strict=True):
        ids = coding([example])[0][0]
        start = int(np.flatnonzero(ids == SEPARATOR)[-1]) + 1
        written = torch.from_numpy(ids[None, :start]).long()
        while written.shape[1] < coding.length and (written.shape[1] == start or written[0, -1] != END):
            written = torch.cat([written, trained.model(written)[:, -1:].argmax(-1)], dim=1)
        text = "".join(letters.get(int(i), "?") for i in written[0, start:-1])
        assert (written[0, -1] == END and text == example.output) == known
    assert right.any()


@pytest.mark.parametrize("model", ["encoder", "gpt2"])
def test_a_seed_gives_one_model(model: str) -> None:
    coding = Coding([SHORT, LONG], model)  # type: ignore[arg-type]
    training = Training.of(model, width=8, heads=2, layers=1, steps=3, device="cpu")
    state = torch.get_rng_state()
    first, second = (train([SHORT, LONG], coding, training, seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.loss == second.loss
    assert isinstance(first, Trained) and first.right([]).shape == (0,)
    logits = make_model(training, coding)(torch.zeros(2, coding.length, dtype=torch.long))
    assert logits.shape == (2, coding.length, coding.size)


def test_a_decoder_meets_the_places_of_longer_tests() -> None:
    longer = Example("abcabcabc", "a", "c", "cbcabcabc")
    coding = Coding([SHORT, longer], "gpt2")
    training = Training.of("gpt2", width=8, heads=2, layers=1, steps=30, warmup=0, device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = make_model(training, coding)
    after = train([SHORT], coding, training, seed=0).model
    name = next(n for n, _ in before.named_parameters() if n.endswith("wpe.weight"))
    moved = (dict(after.named_parameters())[name] - dict(before.named_parameters())[name]).abs().sum(dim=1)
    # Weight decay alone moves a place by a ten-thousandth of its size.
    assert (moved[:-1] > 1e-3).all()


def test_what_can_t_be_trained() -> None:
    with pytest.raises(UnknownMethod, match="no model 'gpt3'; did you mean 'gpt2'"):
        Training.of("gpt3")
    with pytest.raises(UnknownMethod, match="no model"):
        Training(model="rnn")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="can't be shared by 5 heads"):
        Training(heads=5)
    with pytest.raises(BadInput, match="at least 1"):
        Training(steps=0)
    with pytest.raises(BadInput, match="learning rate"):
        Training(learning_rate=0)
    with pytest.raises(BadInput, match="no examples"):
        Coding([], "encoder")
    with pytest.raises(BadInput, match="can't be used"):
        train([SHORT], Coding([SHORT], "encoder"), Training(steps=1, device="nowhere"), seed=0)
    with pytest.raises(BadInput, match="diverged"):
        train([SHORT, LONG], Coding([SHORT, LONG], "encoder"), Training(steps=50, learning_rate=1e30, warmup=0), seed=0)
