"""One file that holds a whole page: markup, style, scripts and data, and a policy that lets it reach nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from polyculture.files import plain
from polyculture.report.figure import Figure


def document(
    template: str, *, data: Any, figures: Sequence[Figure], scripts: Sequence[str] = (), **context: Any
) -> str:
    """Render a page that needs no network.

    Every value put into the template is escaped. The data travel as JSON that can't end its own script element, and a
    content security policy allows the page's own scripts by their hashes: a script inside a record could not run even
    if it were not escaped, and nothing can be loaded from anywhere.

    Args:
        template: file name in this folder.
        data: what the scripts read, JSON-able.
        figures: drawn by ``plots.js``; the template places them.
        scripts: more script files of this folder, run in order after ``plots.js``.
        context: what the template shows.
    """
    sources = [_plotly(), *(_file(name) for name in ("plots.js", *scripts))]
    payload = {"figures": {figure.id: figure.payload() for figure in figures}, **data}
    page = (
        _environment()
        .get_template(template)
        .render(
            style=_file("style.css"),
            policy=_policy(sources),
            data=embeddable_json(payload),
            sources=sources,
            figures={figure.id: figure for figure in figures},
            **context,
        )
    )
    # A lone surrogate can't be written as UTF-8; a question mark keeps the page readable.
    return str(page).encode("utf-8", errors="replace").decode("utf-8")


def embeddable_json(value: Any) -> str:
    r"""JSON that is safe inside a script element: no character of it can end the element or start a comment.

    >>> embeddable_json({"text": "</script>"})
    '{"text":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def number(value: Any, digits: int = 4) -> str:
    """A number as a reader wants it: thousands separated, no needless digits; a dash for none.

    >>> number(10624), number(0.123456), number(None), number(1234.5678)
    ('10,624', '0.1235', '–', '1,235')
    """
    if value is None or isinstance(value, str):
        return value or "–"
    if isinstance(value, int):
        return f"{value:,}"
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if 1000 <= abs(value) < 1e12:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.1234), percent(0.001)
    ('12 %', '0.1 %')
    """
    value = 100 * share
    return f"{value:.1f} %" if 0 < value < 1 else f"{value:.0f} %"


def _policy(sources: Sequence[str]) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in sources)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@functools.cache
def _file(name: str) -> str:
    return (files("polyculture.report") / name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("\r\n", "\n")


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "percent": percent}
    return environment
