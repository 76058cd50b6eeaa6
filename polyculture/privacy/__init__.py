"""Privacy: what to collect in coarser form, so that the records a service keeps give less of their people away."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "privacy",
    ("untouched", "polyculture.privacy.simple:Untouched"),
    ("full-minimization", "polyculture.privacy.simple:FullMinimization"),
    ("uniform", "polyculture.privacy.simple:Uniform"),
    ("feature-selection", "polyculture.privacy.feature_selection:FeatureSelection"),
    ("iterative", "polyculture.privacy.iterative:Iterative"),
    ("adversarial-training", "polyculture.privacy.soft_buckets:AdversarialTraining"),
    ("mutual-information", "polyculture.privacy.soft_buckets:MutualInformation"),
    ("apt", "polyculture.privacy.apt:Apt"),
    ("pat", "polyculture.privacy.pat:PAT"),
)
__getattr__ = METHODS.export
