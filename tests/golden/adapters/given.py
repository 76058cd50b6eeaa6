"""A case's parameters and numbers as the public functions take them, and answers by names that the case chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def given(params: Mapping[str, Any], *same: str, **renamed: str) -> dict[str, Any]:
    """The parameters that are there and not null: those of the same name, and option = name of the parameter."""
    names = {name: name for name in same} | renamed
    return {option: params[name] for option, name in names.items() if params.get(name) is not None}


def tensor(values: Any) -> torch.Tensor:
    """Numbers, in lists of any depth, as float64; "inf", "-inf" and "nan" are those."""
    import torch

    def numbers(value: Any) -> Any:
        return [numbers(one) for one in value] if isinstance(value, list) else float(value)

    return torch.tensor(numbers(values), dtype=torch.float64)


class Asked(dict[str, Any]):
    """Answers by name, each made when it is asked for: a case names some of more than anyone would list.

    Listed, it shows the usual names. One that can't be answered raises on its own, not with the others.
    """

    def __init__(self, make: Callable[[str], Any], usual: Sequence[str]) -> None:
        super().__init__()
        self._make, self._usual = make, tuple(usual)

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        self[name] = answer = self._make(name)
        return answer

    def __iter__(self) -> Iterator[str]:
        return iter(self._usual)

    def __len__(self) -> int:
        return len(self._usual)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]

    def keys(self) -> Any:
        return self._usual

    def items(self) -> Any:
        return [(name, self[name]) for name in self._usual]
