"""Measure: how good and how varied a pool is. Plain functions on arrays and texts; see METHODS."""

from polyculture.methods import MethodTable

METHODS = MethodTable("measure")
__getattr__ = METHODS.export
