"""Quality: how good one candidate is. Scorers turn a pool into (n,) numbers, higher is better."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "quality",
    ("heuristic", "polyculture.quality.heuristic:HeuristicQuality"),
    ("length", "polyculture.quality.base:LengthQuality"),
    ("perplexity", "polyculture.quality.perplexity:PerplexityQuality"),
    ("log-likelihood", "polyculture.quality.perplexity:LogLikelihoodQuality"),
    ("prediction-difficulty", "polyculture.quality.difficulty:PredictionDifficultyQuality"),
    ("upd", "polyculture.quality.difficulty:UPDQuality"),
    ("ifd", "polyculture.quality.difficulty:IFDQuality"),
    ("dependability", "polyculture.quality.dependability:DependabilityQuality"),
    ("reward-margin", "polyculture.quality.reward_margin:RewardMarginQuality"),
    ("inter-similarity", "polyculture.quality.inter_similarity:InterSimilarityQuality"),
    ("prompt-quality", "polyculture.quality.prompt_quality:PromptQuality"),
    ("ratings", "polyculture.quality.ratings:RatingsQuality"),
)
__getattr__ = METHODS.export
