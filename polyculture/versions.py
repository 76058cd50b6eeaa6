"""The versions of what makes the numbers, for manifests and reports."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("polyculture", "numpy", "scikit-learn", "faiss-cpu", "torch", "sentence-transformers", "transformers")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
