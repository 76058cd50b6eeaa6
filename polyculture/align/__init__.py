"""Align: train a model towards what is preferred. Losses are functions of log-probabilities; see METHODS."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "align",
    ("dpo", "polyculture.align.objectives.direct:dpo_loss"),
    ("ipo", "polyculture.align.objectives.direct:ipo_loss"),
    ("hinge", "polyculture.align.objectives.direct:hinge_loss"),
    ("dpo-nll", "polyculture.align.objectives.direct:dpo_nll_loss"),
    ("tdpo", "polyculture.align.objectives.tdpo:tdpo_loss"),
    ("asft", "polyculture.align.objectives.asft:asft_loss"),
    ("asft-two-stage", "polyculture.align.objectives.asft:asft_two_stage_loss"),
    ("f-dpo", "polyculture.align.objectives.f_dpo:f_dpo_loss"),
    ("modpo", "polyculture.align.objectives.modpo:modpo_loss"),
    ("f-dpg", "polyculture.align.objectives.f_dpg:f_dpg_loss"),
    ("dno", "polyculture.align.objectives.dno:dno_loss"),
    ("dno-prct", "polyculture.align.objectives.dno:dno_prct_loss"),
    ("curry-dpo", "polyculture.align.curriculum:CurryDPO"),
)
__getattr__ = METHODS.export
