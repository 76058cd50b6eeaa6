"""Align: train a model towards what is preferred. Losses are functions of log-probabilities; see METHODS."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "align",
    ("dpo", "polyculture.align.direct:dpo_loss"),
    ("ipo", "polyculture.align.direct:ipo_loss"),
    ("hinge", "polyculture.align.direct:hinge_loss"),
    ("dpo-nll", "polyculture.align.direct:dpo_nll_loss"),
)
__getattr__ = METHODS.export
