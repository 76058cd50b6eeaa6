"""Align: train a model towards what is preferred. Losses are functions of log-probabilities; see METHODS.

TRL's names for the same losses, where they differ; elsewhere "_" is "-":

=====================  ===================================================================
TRL                    here
=====================  ===================================================================
``sigmoid``            ``dpo``
``sigmoid_norm``       ``dpo-norm``
``ipo``                ``ipo-norm``; ``ipo`` is the paper's, without length normalisation
CPO ``sigmoid``        ``cpo``; CPO ``hinge`` and ``ipo`` are its ``form``
CPO ``simpo``          ``simpo``, or ``alphapo`` where TRL's ``alpha`` is not 0
ORPO's ``beta``        ``lam`` of ``orpo``
``label_smoothing``    ``cdpo`` for DPO; an option of the others that have it
``f_divergence_type``  ``f-dpo``, or :func:`polyculture.align.modifiers.with_divergence`
``loss_weights``       :func:`polyculture.align.mixture.parse_objective`
=====================  ===================================================================
"""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "align",
    ("dpo", "polyculture.align.objectives.logistic:dpo_loss"),
    ("cdpo", "polyculture.align.objectives.logistic:cdpo_loss"),
    ("robust", "polyculture.align.objectives.logistic:robust_loss"),
    ("dpo-norm", "polyculture.align.objectives.logistic:dpo_norm_loss"),
    ("exo-pair", "polyculture.align.objectives.logistic:exo_pair_loss"),
    ("discopop", "polyculture.align.objectives.logistic:discopop_loss"),
    ("dpop", "polyculture.align.objectives.logistic:dpop_loss"),
    ("odpo", "polyculture.align.objectives.logistic:odpo_loss"),
    ("r-dpo", "polyculture.align.objectives.logistic:r_dpo_loss"),
    ("dpo-nll", "polyculture.align.objectives.logistic:dpo_nll_loss"),
    ("hinge", "polyculture.align.objectives.hinge:hinge_loss"),
    ("slic-regularised", "polyculture.align.objectives.hinge:slic_regularised_loss"),
    ("ipo", "polyculture.align.objectives.squared:ipo_loss"),
    ("ipo-norm", "polyculture.align.objectives.squared:ipo_norm_loss"),
    ("sppo-hard", "polyculture.align.objectives.squared:sppo_hard_loss"),
    ("cal-dpo", "polyculture.align.objectives.squared:cal_dpo_loss"),
    ("nca-pair", "polyculture.align.objectives.absolute:nca_pair_loss"),
    ("bco-pair", "polyculture.align.objectives.absolute:bco_pair_loss"),
    ("apo-zero", "polyculture.align.objectives.absolute:apo_zero_loss"),
    ("apo-down", "polyculture.align.objectives.absolute:apo_down_loss"),
    ("aot", "polyculture.align.objectives.sorted:aot_loss"),
    ("aot-unpaired", "polyculture.align.objectives.sorted:aot_unpaired_loss"),
    ("simpo", "polyculture.align.objectives.reference_free:simpo_loss"),
    ("alphapo", "polyculture.align.objectives.reference_free:alphapo_loss"),
    ("cpo", "polyculture.align.objectives.reference_free:cpo_loss"),
    ("slic", "polyculture.align.objectives.reference_free:slic_loss"),
    ("orpo", "polyculture.align.objectives.reference_free:orpo_loss"),
    ("kto-pair", "polyculture.align.objectives.unpaired:kto_pair_loss"),
    ("kto", "polyculture.align.objectives.unpaired:kto_loss"),
    ("bco", "polyculture.align.objectives.unpaired:bco_loss"),
    ("apo-zero-unpaired", "polyculture.align.objectives.unpaired:apo_zero_unpaired_loss"),
    ("pl", "polyculture.align.objectives.listwise:pl_loss"),
    ("sft", "polyculture.align.objectives.sft:sft_loss"),
    ("tdpo", "polyculture.align.objectives.tdpo:tdpo_loss"),
    ("asft", "polyculture.align.objectives.asft:asft_loss"),
    ("asft-two-stage", "polyculture.align.objectives.asft:asft_two_stage_loss"),
    ("f-dpo", "polyculture.align.objectives.f_dpo:f_dpo_loss"),
    ("modpo", "polyculture.align.objectives.modpo:modpo_loss"),
    ("f-dpg", "polyculture.align.sampled.settings:FDPG"),
    ("dno", "polyculture.align.objectives.dno:dno_loss"),
    ("dno-prct", "polyculture.align.staged.dno_prct:DNOPrct"),
    ("curry-dpo", "polyculture.align.staged.curriculum:CurryDPO"),
)
__getattr__ = METHODS.export
