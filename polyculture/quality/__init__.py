"""Quality: how good one candidate is. Scorers turn a pool into (n,) numbers, higher is better."""

from polyculture.methods import MethodTable

METHODS = MethodTable("quality")
__getattr__ = METHODS.export
