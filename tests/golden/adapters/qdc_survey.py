"""Reference vectors of the survey of quality, diversity and complexity, through the public measures."""

from polyculture.measure.archive import grid_archive
from polyculture.measure.complexity import expression_size
from polyculture.measure.compression import compression_ratio
from polyculture.measure.lexical import (
    hdd,
    log_type_token_ratio,
    moving_average_ttr,
    mtld,
    root_type_token_ratio,
    type_token_ratio,
)
from polyculture.measure.ngrams import ngram_diversity
from polyculture.measure.overlap import pairwise_bleu, self_bleu
from polyculture.measure.quality_measures import perplexity
from polyculture.measure.spread import mean_nn_distance, mean_pairwise_distance, novelty
from polyculture.measure.tags import effective_tags, mean_tags, n_unique_tags, tag_coverage, tag_entropy
from polyculture.measure.vendi import vendi_score
from tests.golden.adapters.given import given


def _lexical(inputs, params):
    tokens, window = inputs["tokens"], params.get("mattr_window", 10)
    return {
        "ttr": type_token_ratio(tokens),
        "root_ttr": root_type_token_ratio(tokens),
        "log_ttr": log_type_token_ratio(tokens),
        f"mattr_{window}": moving_average_ttr(tokens, window=window),
        "hdd_42": hdd(tokens),
    }


def _mtld(inputs, params):
    value = mtld(inputs["tokens"], **given(params, "threshold", min_tokens="min_tokens_in_factor"))
    return {"mtld": value}


def _bleu(inputs, params):
    texts, options = inputs["texts"], given(params, "max_n")
    return {"self_bleu": self_bleu(texts, **options), "pairwise_bleu": pairwise_bleu(texts, **options)}


def _spread(inputs, params):
    X = inputs["X"]
    return {
        "mean_cosine_distance": mean_pairwise_distance(X, metric="cosine"),
        "mean_euclidean_distance": mean_pairwise_distance(X, metric="euclidean"),
        "mean_nn_distance": mean_nn_distance(X),
        "novelty_k": novelty(X, **given(params, "k")).tolist(),
        "vendi_cosine": vendi_score(X),
    }


def _tags(inputs, params):
    tags = inputs["tags"]
    return {
        "mean_tags": mean_tags(tags),
        "n_unique_tags": n_unique_tags(tags),
        "tag_coverage": tag_coverage(tags, params["universe_size"]),
        "tag_entropy": tag_entropy(tags),
        "effective_tags": effective_tags(tags),
    }


def _expressions(inputs, params):
    sizes = [expression_size(expression) for expression in inputs["expressions"]]
    return {"n_nodes": [nodes for nodes, _ in sizes], "depth": [depth for _, depth in sizes]}


def _perplexity(inputs, params):
    found = perplexity(inputs["token_logprobs"])
    return {"per_sample": found.per_sample.tolist(), "corpus": found.corpus}


def _archive(inputs, params):
    ranges = [(0.0, 1.0)] * len(inputs["measures"][0])
    return grid_archive(inputs["measures"], inputs["quality"], cells=params["cells_per_dim"], ranges=ranges)


OPS = {
    "lexical_diversity": _lexical,
    "mtld": _mtld,
    "bleu_diversity": _bleu,
    "ngram_diversity": lambda i, p: {"ngram_diversity": ngram_diversity(i["texts"], **given(p, "ns"))},
    "compression_ratio": lambda i, p: {"compression_ratio": compression_ratio(i["texts"], **given(p, "level"))},
    "embedding_spread": _spread,
    "tag_measures": _tags,
    "expression_complexity": _expressions,
    "perplexity": _perplexity,
    "qd_score_grid": _archive,
}
