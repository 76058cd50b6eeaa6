"""The tables of methods: one a stage, written by hand, everything else derived from them.

Each stage's package holds ``METHODS``, a :class:`MethodTable` from a name to ``"module:attribute"``. Looking a name up
imports its module, listing names imports nothing, so that the command line starts fast and a missing optional
dependency only stops the method that needs it. Third parties add theirs through the entry point group
``polyculture.methods``: the entry's name is ``stage.name``, its value ``module:attribute``.

A method's hyper-parameters are the keyword arguments of its signature; the command line, the recipe schema, the
gallery and the generic checks all read them from there.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from polyculture.errors import BadInput, UnknownMethod, unknown

STAGES = (
    "measure",
    "quality",
    "select",
    "distill",
    "mix",
    "synthesize",
    "search",
    "align",
    "reward",
    "diffuse",
    "decode",
    "fuse",
    "robust",
    "sparse",
    "stream",
    "privacy",
)


# A table that lives in another stage's package: distillers make a set where selectors choose one.
PLACES = {"distill": ("polyculture.select", "DISTILLERS")}


class MethodTable(Mapping[str, Any]):
    """An explicit, ordered table name -> method that imports a method on first use.

    Args:
        stage: the stage this table belongs to.
        entries: pairs ``(name, "module:attribute")``.

    Raises:
        ValueError: two entries share a name.
    """

    def __init__(self, stage: str, *entries: tuple[str, str]) -> None:
        self.stage = stage
        self._targets: dict[str, str] = {}
        for name, target in entries:
            self.add(name, target)

    def add(self, name: str, target: str) -> None:
        """Add one entry; a name that is taken is an error."""
        if name in self._targets:
            raise ValueError(f"two {self.stage} methods are named '{name}': {self._targets[name]} and {target}")
        self._targets[name] = target

    def target(self, name: str) -> str:
        """Where a method lives, as ``module:attribute``, without importing it."""
        if name not in self._targets:
            raise unknown(f"{self.stage} method", name, self._targets)
        return self._targets[name]

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self.target(name).partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def export(self, attribute: str) -> Any:
        """A package's ``__getattr__``: ``from polyculture.select import KMQ`` finds the class by its own name."""
        for name, target in self._targets.items():
            if target.partition(":")[2] == attribute:
                return self[name]
        raise AttributeError(f"module 'polyculture.{self.stage}' has no attribute '{attribute}'")


@functools.cache
def table(stage: str) -> MethodTable:
    """The methods of one stage, third parties' included.

    Raises:
        UnknownMethod: there is no such stage.
        ValueError: an entry point takes a name that is taken.
    """
    if stage not in STAGES:
        raise unknown("stage", stage, STAGES)
    from importlib.metadata import entry_points  # slow to import, and --help asks for no table

    module, attribute = PLACES.get(stage, (f"polyculture.{stage}", "METHODS"))
    try:
        own: MethodTable = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        own = MethodTable(stage)
    merged = MethodTable(stage, *((name, own.target(name)) for name in own))
    for point in entry_points(group="polyculture.methods"):
        its_stage, _, name = point.name.partition(".")
        if its_stage == stage:
            merged.add(name, point.value)
    return merged


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One hyper-parameter of a method, as its signature and docstring give it."""

    name: str
    annotation: Any
    default: Any
    help: str

    @property
    def required(self) -> bool:
        """Whether the method can't be made without it."""
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        """The annotation as a reader would write it."""
        if isinstance(self.annotation, type) and not typing.get_args(self.annotation):
            return self.annotation.__name__
        return str(self.annotation).replace("typing.", "").replace("collections.abc.", "")


def parameters(method: Callable[..., Any], *, skip: tuple[str, ...] = ()) -> dict[str, Parameter]:
    """The hyper-parameters of a method: the keyword arguments of a class's constructor, or of a function.

    A function's hyper-parameters are its arguments that have a default; those without are its inputs. What a class does
    not explain itself, the classes it inherits from do.
    """
    signature = inspect.signature(method)
    target: Any = method.__init__ if isinstance(method, type) else method  # type: ignore[misc]
    # A dataclass's constructor does not know the modules its inherited fields were annotated in; the class does.
    hints = typing.get_type_hints(method if dataclasses.is_dataclass(method) else target)
    helps: dict[str, str] = {}
    for kind in reversed(method.__mro__) if isinstance(method, type) else (method,):
        helps |= argument_docs(inspect.cleandoc(kind.__doc__ or ""))
    found = {}
    for name, parameter in signature.parameters.items():
        if name in skip or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if not isinstance(method, type) and parameter.default is parameter.empty:
            continue
        found[name] = Parameter(name, hints.get(name, Any), parameter.default, helps.get(name, ""))
    return found


def inputs(function: Callable[..., Any]) -> tuple[str, ...]:
    """The inputs of a function: its arguments without a default, in order."""
    return tuple(n for n, p in inspect.signature(function).parameters.items() if p.default is p.empty)


def argument_docs(doc: str) -> dict[str, str]:
    """The ``Args:`` section of a Google-style docstring, name -> text."""
    found: dict[str, str] = {}
    lines = iter(doc.splitlines())
    for line in lines:
        if line.strip() == "Args:":
            break
    name = ""
    for line in lines:
        if line.strip() and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     ") and ":" in line:
            name, _, text = line.strip().partition(":")
            name = name.split("(")[0].strip()
            found[name] = text.strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def meaning(stage: str, name: str) -> str:
    """What a method does: the first sentence of its docstring, without markup."""
    doc = inspect.getdoc(table(stage)[name]) or ""
    sentence = " ".join(doc.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
    return re.sub(r":\w+:`([^`]*)`", r"\1", sentence).replace("``", "")


def build(stage: str, name: str, **hyper: Any) -> Any:
    """Make a method by name: ``build("select", "kmq", n_clusters=40)``.

    Values given as strings (from a command line) are read as the annotated type: "1,2" for a tuple, "a=1,b=2" for a
    mapping.

    Raises:
        UnknownMethod: no such method, or no such hyper-parameter, with the nearest name.
        BadInput: a value can't be read as its type, or a required one is missing.
    """
    method = table(stage)[name]
    known = parameters(method)
    values = {}
    for key, value in hyper.items():
        key = key.replace("-", "_")
        if key not in known:
            if not known:
                raise UnknownMethod(f"{stage} method '{name}' has no options, but '{key}' was given")
            raise unknown(f"option of {stage} method '{name}'", key, known)
        values[key] = parse(value, known[key].annotation, f"{name}: {key}") if isinstance(value, str) else value
    missing = [p.name for p in known.values() if p.required and p.name not in values]
    if missing:
        raise BadInput(f"{stage} method '{name}' needs {', '.join(missing)}")
    if isinstance(method, type):
        return method(**values)
    return functools.partial(method, **values)


def parse(text: str, annotation: Any, place: str) -> Any:
    """Read a command-line string as the annotated type.

    Raises:
        BadInput: it can't be; the message names ``place``.
    """
    if annotation is Any or annotation is str:
        return text
    options = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )
    for option in sorted(options, key=lambda option: option is not type(None)):  # any text would be a str
        try:
            return _parse_one(text, option)
        except (ValueError, TypeError, KeyError):
            continue
    wanted = " or ".join(getattr(o, "__name__", str(o)) for o in options)
    raise BadInput(f"{place} should be {wanted}, not '{text}'")


def _parse_one(text: str, annotation: Any) -> Any:
    if annotation is type(None):
        if text.lower() in ("none", "null", ""):
            return None
        raise ValueError
    if annotation is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
    if annotation in (int, float, str):
        return annotation(text)
    origin = typing.get_origin(annotation)
    if annotation is Mapping or origin is Mapping:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError
        return {name.strip(): value.strip() for name, _, value in pairs}
    if origin is Literal:
        if text in typing.get_args(annotation):
            return text
        raise ValueError
    if origin is not None and issubclass(origin, Sequence):
        inner = next((a for a in typing.get_args(annotation) if a is not Ellipsis), str)
        items = [_parse_one(part.strip(), inner) for part in text.split(",") if part.strip()]
        return items if origin is list else tuple(items)
    raise TypeError(annotation)
