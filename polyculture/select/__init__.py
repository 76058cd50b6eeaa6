"""Select: which rows of a pool to keep, in order of choice."""

from polyculture.methods import MethodTable

METHODS = MethodTable("select")
__getattr__ = METHODS.export
