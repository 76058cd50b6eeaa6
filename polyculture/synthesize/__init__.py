"""Synthesize: new records with a language model, and new examples out of generated parts."""

from polyculture.methods import MethodTable

METHODS = MethodTable("synthesize")
__getattr__ = METHODS.export
