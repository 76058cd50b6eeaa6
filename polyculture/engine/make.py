"""Engines by name."""

from __future__ import annotations

import re

from polyculture.engine.base import Engine
from polyculture.errors import unknown


def make_engine(spec: str = "local") -> Engine:
    """An engine by name.

    Args:
        spec: "local" runs in this process; "ray" starts a Ray on this machine; "auto" joins the Ray that runs here;
            "ray://host:port" or "host:port" joins that one.

    Raises:
        UnknownMethod: no such engine.
        MissingExtra: Ray is not installed.
    """
    if spec == "local":
        from polyculture.engine.local import LocalEngine

        return LocalEngine()
    address = re.fullmatch(r"auto|ray://\S+|[\w.\-]+:\d+", spec)
    if spec == "ray" or address:
        from polyculture.engine.ray import RayEngine

        return RayEngine(spec if address else None)
    raise unknown("engine", spec, ("local", "ray", "auto", "ray://host:port"))
