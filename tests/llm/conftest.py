"""Models and servers the tests of language models share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import tiny_llama


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama with a chat template."""
    return tiny_llama(tmp_path_factory.mktemp("tiny") / "llama")
