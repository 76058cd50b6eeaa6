"""Reference vectors of the diversity measures of MetaSynth, through the public measures."""

from polyculture.measure.compression import compression_ratio
from polyculture.measure.ngrams import distinct_n, mean_inverse_frequency, ngram_diversity_sum, self_repetition
from polyculture.measure.spread import chamfer_distance, diversity_coefficient, remote_clique
from polyculture.measure.tokens import blank_separated
from tests.golden.adapters.given import given


def _texts(inputs, params):
    docs = inputs["docs"]
    return {
        "ngram_diversity_sum": ngram_diversity_sum(docs, **given(params, n_max="N")),
        "distinct_1": distinct_n(docs, n=1, tokenize=blank_separated),
        "distinct_4": distinct_n(docs, n=4, tokenize=blank_separated),
        "self_repetition_4": self_repetition(docs, n=4),
    }


def _embeddings(inputs, params):
    X = inputs["embeddings"]
    return {
        "remote_clique": remote_clique(X),
        "chamfer": chamfer_distance(X),
        "diversity_coefficient": diversity_coefficient(X),
    }


OPS = {
    "text_metrics": _texts,
    "compression_ratio": lambda i, p: {"ratio": compression_ratio(i["docs"], codec="gzip")},
    "embedding_metrics": _embeddings,
    "mean_inverse_frequency": lambda i, p: {
        "mif": mean_inverse_frequency(i["docs"], background_counts=i["background_counts"])
    },
}
