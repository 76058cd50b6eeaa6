"""Measure: how good and how varied a pool is. Plain functions on arrays and texts; see METHODS."""

from polyculture.methods import MethodTable

METHODS = MethodTable(
    "measure",
    ("vendi", "polyculture.measure.vendi:vendi_score"),
    ("vendi-orders", "polyculture.measure.vendi:vendi_scores"),
    ("vendi-kernel", "polyculture.measure.vendi:vendi_score_kernel"),
    ("ngram-vendi", "polyculture.measure.ngram_vendi:ngram_vendi"),
    ("intdiv", "polyculture.measure.vendi:intdiv_embeddings"),
    ("intdiv-kernel", "polyculture.measure.vendi:intdiv"),
)
__getattr__ = METHODS.export
