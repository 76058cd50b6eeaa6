"""Choose 50 of 500 generated instructions in three ways, and see what each choice is worth."""

from __future__ import annotations

from polyculture.datasets import make_instructions
from polyculture.quality.base import score_pool
from polyculture.reading import read_pool
from polyculture.select.compare import compare
from polyculture.select.determinantal import Determinantal
from polyculture.select.simple import Random, TopQuality
from polyculture.space.embed import embed_pool


def main() -> None:
    pool = read_pool(list(make_instructions(500, 0)), text="prompt", groups="domain")
    pool = embed_pool(score_pool(pool, "heuristic"), "tfidf", cache=None)
    selectors = {"random": Random(), "top quality": TopQuality(), "determinantal": Determinantal(alpha=1.0)}
    for row in compare(pool, selectors, 50, rng=0).rows:
        values = ", ".join(f"{name} {value:.3g}" for name, value in row.values.items())
        print(f"{row.selector:>14}: {values}")


if __name__ == "__main__":
    main()
