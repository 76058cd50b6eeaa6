import gzip
import io
import json
import zlib
from pathlib import Path

import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.compression import compression_ratio

PEER = json.loads((Path(__file__).parent / "data" / "diversity_0_3_1.json").read_text())["cases"]


def test_repetition_raises_the_ratio():
    assert compression_ratio(["the same words"] * 50) > 5 * compression_ratio(["the same words"])


def test_bytes_not_characters():
    raw = "é ü".encode()
    assert compression_ratio(["é", "ü"]) == len(raw) / len(zlib.compress(raw, 9))


@pytest.mark.parametrize("case", PEER, ids=lambda case: case["name"])
def test_the_diversity_package_compresses_twice(case):
    raw = " ".join(case["texts"]).encode()
    once = gzip.compress(raw, mtime=0)
    # The peer writes a stream compressed at some time into a gzip file that carries its own name.
    file = io.BytesIO()
    with gzip.GzipFile("compressed", "wb", fileobj=file, mtime=0) as twice:
        twice.write(gzip.compress(raw, mtime=0x654321AB))
    assert compression_ratio(case["texts"], codec="gzip") == pytest.approx(len(raw) / len(once))
    assert case["compression_ratio"] == pytest.approx(len(raw) / len(file.getvalue()), rel=0.01)


def test_nothing_and_bad_arguments():
    assert compression_ratio([]) == compression_ratio([""]) == 0.0
    with pytest.raises(UnknownMethod, match="did you mean 'gzip'"):
        compression_ratio(["a"], codec="gz")
    with pytest.raises(BadInput, match="0 to 9"):
        compression_ratio(["a"], level=10)
