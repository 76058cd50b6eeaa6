"""Decode: how answers are drawn; token by token inside ``generate``, or whole answers at a time."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "decode",
    ("top-h", "polyculture.decode.top_h:TopH"),
)
__getattr__ = METHODS.export
