from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.quality.inter_similarity import InterSimilarityQuality, mean_similarity
from polyculture.reading import read_pool


def test_mean_over_all_real_examples() -> None:
    rng = np.random.default_rng(0)
    G, R = rng.normal(size=(7, 5)), rng.normal(size=(4, 5))
    plain = [[g @ r / np.linalg.norm(g) / np.linalg.norm(r) for r in R] for g in G]
    np.testing.assert_allclose(mean_similarity(G, R), np.mean(plain, axis=1))
    np.testing.assert_allclose(mean_similarity(G, np.vstack([R, np.zeros(5)])), np.mean(plain, axis=1))
    assert np.isnan(mean_similarity(np.zeros((2, 5)), R)).all()
    assert np.isnan(mean_similarity(G, np.zeros((0, 5)))).all()
    assert mean_similarity(np.zeros((0, 5)), R).shape == (0,)


def test_categories_are_matched_by_name() -> None:
    real = Pool.from_arrays([[1.0, 0], [0, 1.0]], groups=["cat", "dog"])
    made = Pool.from_arrays([[1.0, 0], [1.0, 0], [1.0, 0]], groups=["dog", "cat", "emu"])
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        assert InterSimilarityQuality(real).score(made).tolist() == [0.0, 1.0, -1.0]
    everything = Pool.from_arrays(real.embeddings)
    np.testing.assert_allclose(InterSimilarityQuality(everything).score(made), 0.5)


def test_real_examples_of_a_file(tmp_path: Path) -> None:
    def write(name: str, rows: list[tuple[str, list[float]]]) -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps({"kind": k, "vector": v}) + "\n" for k, v in rows))
        return str(path)

    real = write("real.jsonl", [("cat", [1, 0]), ("cat", [0, 1]), ("dog", [0, 1])])
    made = read_pool(write("made.jsonl", [("cat", [1, 0]), ("dog", [0, 2])]), groups="kind", vectors="vector")
    scorer = InterSimilarityQuality(real, vectors="vector", category="kind")
    np.testing.assert_allclose(scorer.score(made), [0.5, 1.0])
    with pytest.raises(BadInput, match="needs embeddings"):
        scorer.score(made.with_(embeddings=None))
    with pytest.raises(BadInput, match="needs groups"):
        scorer.score(made.with_(groups=None))


def test_refuses() -> None:
    with pytest.raises(BadInput, match="one width"):
        mean_similarity(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(BadInput, match="NaN or infinite"):
        mean_similarity([[np.nan, 1.0]], [[1.0, 1.0]])
