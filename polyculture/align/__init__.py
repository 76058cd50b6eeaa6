"""Align: train a model towards what is preferred. Losses are functions of log-probabilities; see METHODS."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "align",
    ("dpo", "polyculture.align.objectives.direct:dpo_loss"),
    ("ipo", "polyculture.align.objectives.direct:ipo_loss"),
    ("hinge", "polyculture.align.objectives.direct:hinge_loss"),
    ("dpo-nll", "polyculture.align.objectives.direct:dpo_nll_loss"),
    ("f-dpo", "polyculture.align.objectives.f_dpo:f_dpo_loss"),
)
__getattr__ = METHODS.export
