from __future__ import annotations

import platform

import numpy as np
import pytest

from polyculture import __version__
from polyculture import versions as module
from polyculture.versions import versions


def test_names_python_and_the_packages_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("polyculture", "numpy", "no-such-package"))
    assert versions() == {"python": platform.python_version(), "polyculture": __version__, "numpy": np.__version__}
