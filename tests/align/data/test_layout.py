"""How examples lie in a batch: what sees what, and what predicts what."""

import numpy as np
import torch

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout

ROWS = [
    (7, Encoded([1, 2], ([3], [4, 5], [6]), {}), {"ref": [[-1.0], [-2.0, -3.0], [-4.0]]}),
    (9, Encoded([1], ([8, 9],), {}), {"ref": [np.array([-5.0, -6.0], dtype=np.float32)]}),
]


def test_a_completion_sees_the_prompt_and_itself() -> None:
    batch = Layout(0)(ROWS)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6], [1, 8, 9, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 2, 3, 2], [0, 1, 2, 0, 0, 0]]
    seen = [[row.nonzero()[:, 0].tolist() for row in example[0]] for example in batch["visible"]]
    assert seen[0] == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [0, 1, 5]]
    assert seen[1] == [[0], [0, 1], [0, 1, 2], [3], [4], [5]], "padding sees itself alone"


def test_each_token_is_predicted_by_the_one_before_it() -> None:
    for share in (True, False):
        batch = Layout(0, share=share)(ROWS)
        before = batch["input_ids"].view(-1)[batch["source"]]
        assert batch["targets"].tolist() == [3, 4, 5, 6, 8, 9]
        assert before.tolist() == [2, 2, 4, 2, 1, 8], "the first of each completion follows the prompt"


def test_scores_go_to_the_same_place_shared_or_apart() -> None:
    shared, apart = (Layout(0, share=share)(ROWS) for share in (True, False))
    assert set(shared) - set(apart) == {"position_ids", "visible"}
    for name in ("slot", "mask", "targets", "ref_logps", "index"):
        assert torch.equal(shared[name], apart[name])
    assert shared["index"].tolist() == [7, 9]
    # Row k B + b is the k-th completion of the b-th example; the second has one.
    assert shared["ref_logps"].tolist() == [[-1, 0], [-5, -6], [-2, -3], [0, 0], [-4, 0], [0, 0]]
    assert shared["mask"].tolist() == [[value != 0 for value in row] for row in shared["ref_logps"].tolist()]
