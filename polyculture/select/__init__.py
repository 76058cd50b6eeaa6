"""Select: which rows of a pool to keep, in order of choice."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "select",
    ("random", "polyculture.select.simple:Random"),
    ("top-quality", "polyculture.select.simple:TopQuality"),
    ("k-center", "polyculture.select.k_center:KCenter"),
    ("facility-location", "polyculture.select.facility_location:FacilityLocation"),
    ("determinantal", "polyculture.select.determinantal:Determinantal"),
    ("deita", "polyculture.select.deita:Deita"),
    ("qdit", "polyculture.select.qdit:QDIT"),
    ("kmq", "polyculture.select.kmq:KMQ"),
    ("km-random", "polyculture.select.kmq:KMRandom"),
    ("km-closest", "polyculture.select.kmq:KMClosest"),
    ("d3", "polyculture.select.d3:D3"),
    ("odis", "polyculture.select.odis:ODiS"),
    ("kmq-iterative", "polyculture.select.kmq_iterative:IterativeKMQ"),
    ("near-duplicates", "polyculture.select.near_duplicates:NearDuplicates"),
    ("stratified", "polyculture.select.stratified:Stratified"),
    ("mvec", "polyculture.select.mvec:MVec"),
    ("fifa", "polyculture.select.fifa:FiFA"),
    ("divergen", "polyculture.select.divergen:DiverGen"),
    ("quadmix", "polyculture.select.quadmix:QuaDMix"),
)
# A distiller makes a set instead of choosing rows of one, so that its contract is its own:
# Distiller(**hyper).distill(X, y, per_class, model=teacher, rng=...) -> Distilled.
DISTILLERS = MethodTable(
    "distill",
    ("dwa", "polyculture.select.distill:DWA"),
    ("sre2l", "polyculture.select.distill:SRe2L"),
    ("random-images", "polyculture.select.distill:RandomImages"),
)
__getattr__ = METHODS.export
