"""Options and settings of the whole test suite."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "tests" / "golden" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        default=str(GOLDEN),
        help="folder of golden vectors to run (default: the project's copies)",
    )


def pytest_configure(config: pytest.Config) -> None:
    import os

    # Small tensors run faster on one thread, and two workers' threads would contend for two cores.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
