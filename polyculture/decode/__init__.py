"""Decode: how answers are drawn; token by token inside ``generate``, or whole answers at a time."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "decode",
    ("top-h", "polyculture.decode.top_h:TopH"),
    ("scmoe", "polyculture.decode.scmoe:SelfContrast"),
    ("contrastive-decoding", "polyculture.decode.scmoe:ContrastiveDecoding"),
    ("best-of-n", "polyculture.decode.best_of_n:BestOfN"),
    ("majority", "polyculture.decode.majority:Majority"),
    ("weighted-majority", "polyculture.decode.majority:WeightedMajority"),
    ("best-of-majority", "polyculture.decode.best_of_majority:BestOfMajority"),
    ("soft-best-of-n", "polyculture.decode.soft_best_of_n:SoftBestOfN"),
    ("particle-filter", "polyculture.decode.particle_filter:ParticleFilter"),
    ("entropic-particle-filter", "polyculture.decode.particle_filter:EntropicParticleFilter"),
    ("beam-search", "polyculture.decode.beam_search:BeamSearch"),
    ("fusion-of-n", "polyculture.decode.fusion_of_n:FusionOfN"),
    ("div-se", "polyculture.decode.div_se:DivSE"),
    ("idiv-se", "polyculture.decode.div_se:IDivSE"),
    ("symbolic-moe", "polyculture.decode.symbolic_moe:SymbolicMoE"),
)
__getattr__ = METHODS.export
