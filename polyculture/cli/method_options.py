"""Commands whose methods bring options of their own: ``--method kmq --n-clusters 40``, anywhere on the line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand

from polyculture.cli.console import one_line_errors
from polyculture.errors import BadInput, UnknownMethod, unknown
from polyculture.functions import PREFIX, named_function
from polyculture.methods import Parameter, parameters, table

KEY = "polyculture.method_options"


class MethodCommand(TyperCommand):
    """A command that takes the options of the methods it names, besides its own.

    ``naming`` says which of its own options name a method, and of which stage.
    """

    naming: ClassVar[dict[str, str]] = {}

    @staticmethod
    def elsewhere(name: str) -> str | None:
        """What another tool's option is called here, if it is here."""
        return None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Set the methods' options aside, and parse the rest as usual."""
        with one_line_errors():
            named = self.named(args)
            known = {f"{stage}.{name}": _parameters(stage, name) for stage, name in named}
            if {"--help", "-h"} & set(args):
                self.epilog = _epilog(known)
            own = {option for param in self.params for option in (*param.opts, *param.secondary_opts)}
            flags = {o for p in self.params if getattr(p, "is_flag", False) for o in (*p.opts, *p.secondary_opts)}
            rest, found = _split(args, own | {"--help", "-h"}, flags | {"--help", "-h"}, known, self.elsewhere)
        ctx.meta[KEY] = found
        return super().parse_args(ctx, rest)

    def named(self, args: Sequence[str]) -> list[tuple[str, str]]:
        """Stage and name of each method on the line, or its option's default."""
        found = []
        for param in self.params:
            stage = self.naming.get(param.name or "")
            if stage is None:
                continue
            value = param.default
            for place, word in enumerate(args):
                option, equals, after = word.partition("=")
                if option in param.opts:
                    value = after if equals else (args[place + 1] if place + 1 < len(args) else None)
            # One name, several with commas between, or a weighted sum: 0.8*dpo+0.2*sft.
            names = [name.strip() for name in re.split(r"[,+*]", value)] if isinstance(value, str) else []
            found += [(stage, name) for name in names if name in table(stage) or name.startswith(PREFIX)]
        return found


def taking(*, elsewhere: Callable[[str], str | None] | None = None, **naming: str) -> type[MethodCommand]:
    """A command class whose options ``naming`` name methods: ``taking(method="select", quality="quality")``."""
    more = {} if elsewhere is None else {"elsewhere": staticmethod(elsewhere)}
    return type("MethodCommand", (MethodCommand,), {"naming": naming, **more})


def given(context: typer.Context, stage: str, name: str | None) -> dict[str, str]:
    """The options that the line gave to one method, still as strings."""
    found: dict[str, dict[str, str]] = context.meta.get(KEY, {})
    return dict(found.get(f"{stage}.{name}", {}))


def given_to_any(context: typer.Context) -> dict[str, str]:
    """The options that the line gave to any method, still as strings."""
    found: dict[str, dict[str, str]] = context.meta.get(KEY, {})
    return {option: value for options in found.values() for option, value in options.items()}


def _parameters(stage: str, name: str) -> dict[str, Parameter]:
    return parameters(named_function(name) if name.startswith(PREFIX) else table(stage)[name])


def _split(
    args: Sequence[str],
    own: set[str],
    flags: set[str],
    known: dict[str, dict[str, Parameter]],
    elsewhere: Callable[[str], str | None],
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The words that are the command's own, and for each method the options that are its.

    Raises:
        UnknownMethod: an option is neither's; the nearest one is suggested.
        BadInput: an option has no value, or another name here.
    """
    rest: list[str] = []
    found: dict[str, dict[str, str]] = {method: {} for method in known}
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if word == "--":
            return [*rest, word, *words], found
        if not word.startswith("--") or option in own:
            rest.append(word)
            # A value that looks like an option belongs to the option before it.
            if word.startswith("-") and word in own and word not in flags:
                rest += [following for following in [next(words, None)] if following is not None]
            continue
        field = option[2:].replace("-", "_")
        owners = [method for method, fields in known.items() if field in fields]
        if not owners:
            if here := elsewhere(option[2:]):
                raise BadInput(f"{option} is {here} here")
            raise _nobody(option[2:], own, known)
        if not equals:
            if known[owners[0]][field].annotation is bool:
                value = "true"
            else:
                following = next(words, None)
                if following is None:
                    raise BadInput(f"option {option} needs a value")
                value = following
        for method in owners:
            found[method][field] = value
    return rest, found


def _nobody(name: str, own: set[str], known: dict[str, dict[str, Parameter]]) -> UnknownMethod:
    theirs = [field.replace("_", "-") for fields in known.values() for field in fields]
    others = f" or of {' or '.join(method.replace('.', ' method ') for method in known)}" if known else ""
    return unknown(f"option of this command{others}", name, [*(o[2:] for o in own if o.startswith("--")), *theirs])


def _epilog(known: dict[str, dict[str, Parameter]]) -> str:
    """The methods' options, for ``--help``."""
    lines = []
    for method, fields in known.items():
        shown = (f"--{p.name.replace('_', '-')} ({'required' if p.required else p.default})" for p in fields.values())
        lines.append(f"Options of {method}: {', '.join(shown)}. polyculture methods {method} explains them.")
    return "\n\n".join(lines)
