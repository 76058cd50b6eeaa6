"""Mix: how much of each group of data to train on, and how to share a budget between them."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "mix",
    ("uniform", "polyculture.mix.simple:Uniform"),
    ("proportional", "polyculture.mix.simple:Proportional"),
    ("random-mixture", "polyculture.mix.simple:RandomMixture"),
    ("best-run", "polyculture.mix.simple:BestRun"),
    ("linear", "polyculture.mix.linear:LinearMixer"),
    ("mixing-laws", "polyculture.mix.mixing_laws:MixingLaws"),
    ("regmix", "polyculture.mix.regmix:RegMix"),
    ("damo", "polyculture.mix.damo:DaMo"),
    ("tikmix", "polyculture.mix.tikmix:TiKMiX"),
    ("tikmix-m", "polyculture.mix.tikmix_search:TiKMiXM"),
    ("replacement", "polyculture.mix.replacement:Replacement"),
    ("equitable-sampling", "polyculture.mix.equitable:EquitableSampling"),
)
__getattr__ = METHODS.export
