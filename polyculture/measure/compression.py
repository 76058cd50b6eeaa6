"""Compression: what a general-purpose compressor finds to be repetition.

Shaib et al., "Standardizing the Measurement of Text Diversity" (2024); "MetaSynth" (2025) uses gzip,
the survey of quality, diversity and complexity in synthetic data (2024) zlib. Sizes vary a little between zlib builds.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from typing import Literal

from polyculture.errors import BadInput, unknown
from polyculture.measure.tokens import as_texts

Codec = Literal["zlib", "gzip"]


def compression_ratio(texts: Sequence[str], *, codec: Codec = "zlib", level: int = 9) -> float:
    """UTF-8 bytes of the texts joined by one blank over the bytes of their compression; higher is MORE redundant.

    It rises with the size of the set: compare sets of equal bytes. 0 when there is nothing to compress.

    Args:
        texts: the set; the value depends a little on its order.
        codec: "zlib" or "gzip" (12 bytes more of header and trailer).
        level: compression level, 0 to 9.

    Raises:
        BadInput: the level is not 0 to 9.
        UnknownMethod: no such codec.
    """
    if not 0 <= level <= 9:
        raise BadInput(f"compression level should be 0 to 9, not {level}")
    raw = " ".join(as_texts(texts)).encode("utf-8", "surrogatepass")
    if codec == "zlib":
        packed = zlib.compress(raw, level)
    elif codec == "gzip":
        packed = gzip.compress(raw, level, mtime=0)
    else:
        raise unknown("codec", codec, ("zlib", "gzip"))
    return len(raw) / len(packed)
