"""Reference vectors of the effects of RLHF on diversity, through the public measures."""

from functools import partial

from polyculture.measure.ngrams import distinct_averaged, distinct_n, ead, ead_n, text_ngrams
from polyculture.measure.overlap import ngram_cosine_diversity
from polyculture.measure.per_input import diversity_by_input, nli_pair_values, nli_value, similarity_to_diversity
from tests.golden.adapters.given import given


def _orders(params):
    return given(params, "n_min", "n_max")


def _vocabulary(params):
    return given(params, vocabulary_size="vocab_size")


def _by_input(inputs, params):
    known = {
        "averaged_distinct_ngrams": partial(distinct_averaged, **_orders(params)),
        "ead_averaged_distinct_ngrams": partial(ead, **_orders(params), **_vocabulary(params)),
        "cosine_similarity_2d_diversity": partial(ngram_cosine_diversity, **given(params, "n")),
    }
    report = diversity_by_input(
        inputs["outputs_per_input"], metrics={name: known[name] for name in params.get("metrics") or known}
    )
    shaped = {}
    for name, found in report.metrics.items():
        shaped |= {
            f"mean_per_input_{name}": found.per_input,
            f"std_per_input_{name}": found.per_input_std,
            f"overall_{name}": found.pooled,
            f"overall_single_output_{name}": found.across_input,
        }
    return shaped


def _nli(inputs, params):
    answers = inputs["directed_outputs"]
    return {"directed": [nli_value(answer) for answer in answers], "pair": nli_pair_values(answers).tolist()}


def _summary(inputs, params):
    texts, n, vocabulary = inputs["texts"], params.get("n", 3), _vocabulary(params)
    return {
        f"distinct_{n}": distinct_n(texts, n=n),
        f"ead_{n}": ead_n(texts, n=n, **vocabulary),
        "ead_avg_1to5": ead(texts, **vocabulary),
        "distinct_avg_1to5": distinct_averaged(texts),
    }


OPS = {
    "lines_to_ngrams": lambda i, p: {"ngrams": text_ngrams(i["texts"], p["n"])},
    "distinct_n": lambda i, p: {"value": distinct_n(i["texts"], n=p["n"])},
    "ead_n": lambda i, p: {"value": ead_n(i["texts"], n=p["n"], **_vocabulary(p))},
    "ead_averaged": lambda i, p: {"value": ead(i["texts"], **_orders(p), **_vocabulary(p))},
    "distinct_averaged": lambda i, p: {"value": distinct_averaged(i["texts"], **_orders(p))},
    "ngram_cosine_diversity": lambda i, p: {"value": ngram_cosine_diversity(i["texts"], **given(p, "n"))},
    "similarity_to_diversity": lambda i, p: {"value": similarity_to_diversity(i["similarities"])},
    "per_and_across_input": _by_input,
    "nli_pair_value": _nli,
    "distinct_ead_summary": _summary,
}
