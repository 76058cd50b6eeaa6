"""Quality: how good one candidate is. Scorers turn a pool into (n,) numbers, higher is better."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "quality",
    ("heuristic", "polyculture.quality.heuristic:HeuristicQuality"),
    ("length", "polyculture.quality.base:LengthQuality"),
)
__getattr__ = METHODS.export
