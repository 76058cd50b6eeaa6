"""What a person sees: tables on stdout, progress and warnings on stderr, one line for an error."""

from __future__ import annotations

import functools
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer

from polyculture.errors import PolycultureError
from polyculture.progress import Progress, silent

P = ParamSpec("P")
R = TypeVar("R")

BAD_INPUT = 2
INTERRUPTED = 130


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn expected errors into one line on stderr and exit status 2, and Ctrl-C into 130."""
    try:
        yield
    except PolycultureError as error:
        _fail(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        _fail("stopped; what was finished is kept, and the same command goes on from there", INTERRUPTED)
    except MemoryError:
        _fail("out of memory; try fewer rows, or a smaller embedding", BAD_INPUT)
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(0) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", BAD_INPUT)


def errors_in_one_line(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose expected errors are one line, and whose warnings are too."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        warnings.showwarning = _show_warning
        with one_line_errors():
            return command(*args, **kwargs)

    return guarded


def _fail(message: str, status: int) -> None:
    print(f"polyculture: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(status)


def _show_warning(message: Any, category: type[Warning], *where: Any, **also: Any) -> None:
    if not issubclass(category, (DeprecationWarning, FutureWarning)):
        print(f"polyculture: warning: {' '.join(str(message).split())}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    from polyculture.files import plain

    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_table(title: str, columns: list[str], rows: list[list[str]], *, right: tuple[str, ...] = ()) -> None:
    """Print a table on stdout; ``right`` names the columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    if title:
        console.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True, highlight=False)
    console.print(table)


def number(value: float | None) -> str:
    """A number as a reader wants it: four significant digits, thousands apart, no number as a dash."""
    if value is None or value != value:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    """An interval in brackets, or nothing."""
    return "" if low is None or high is None or low != low or high != high else f"[{number(low)}, {number(high)}]"


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress]:
    """A progress callable that draws a bar on stderr for anything that takes over a second.

    Where stderr is no terminal it prints a line when a new piece of work has gone on for a while, so that a log shows
    where a long run is.
    """
    if quiet:
        yield silent
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)
            if done >= total:
                bars.update(tasks.pop(what), visible=False)

        yield show


class _Lines:
    """Progress in a log: at most one line every ten seconds."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= 10:
            self.last = now
            print(f"polyculture: {what}: {done:,} of {total:,}", file=sys.stderr)
