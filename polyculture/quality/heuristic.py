"""Heuristic quality: published rules of thumb about text, without a model.

The rules follow the filters of C4 (Raffel et al. 2020, section 2.2), Gopher's MassiveText (Rae et al. 2021, appendix
A.1.1) and FineWeb (Penedo et al. 2024, section 3.6), which keep or drop a page. Here each gives a factor between 0 and
1 with a ramp around the published threshold, loosened where instructions, code and mathematics would fall foul of it,
and the score is their product.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, prod

import numpy as np

from polyculture.pool import Pool

LONGEST = 20_000
"""Characters of a text that are read."""

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_FROM_FIRST_LETTER = re.compile(r"[^\W\d_]\S*")
_CAPITALS, _LATIN, _DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz", b"0123456789"
_WORD_BYTES = _CAPITALS + _LATIN + _DIGITS + bytes(range(128, 256))
_SPACE = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"
_SPACES_ALIKE = bytes.maketrans(_SPACE, b" " * len(_SPACE))
_NEITHER_LETTER_NOR_SPACE = bytes(b for b in range(256) if b not in _CAPITALS + _LATIN + _SPACE)
_ASCII_CONTROL = bytes(b for b in range(128) if b < 9 or 11 <= b <= 12 or 14 <= b < 32 or b == 127)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_ELLIPSIS = re.compile(r"\.\.\.|…|#(?!\w)")
_ELLIPSIS_PARTS = ("#", "...", "…")
_ENDINGS = frozenset(".!?:;)]}\"'`”’»>…。！？」』%$0123456789")
_COMMON = (
    "the a an be is are was were to of and or that have has had with in on for it as at by from this what how i you "
    "if return def import print let function"
)
_STOP_WORDS = frozenset(_COMMON.split())
_BOILERPLATE = re.compile(
    r"lorem ipsum|terms of (?:use|service)|privacy policy|cookie policy|uses? cookies|all rights reserved|click here|"
    r"sign up now|subscribe to our|enable javascript|page not found|skip to (?:main )?content|buy now|add to cart|"
    r"follow us on|best price|limited[- ]time offer|as an ai language model"
)
# Each phrase holds one of these: most texts are passed over by them, which is several times faster than the pattern.
_BOILERPLATE_PARTS = (
    "lorem ipsum",
    "terms of ",
    "privacy policy",
    "cookie",
    "all rights reserved",
    "click here",
    "sign up now",
    "subscribe to our",
    "enable javascript",
    "page not found",
    "skip to ",
    "buy now",
    "add to cart",
    "follow us on",
    "best price",
    "time offer",
    "as an ai language model",
)
# The 240 most frequent pairs of letters of English: 97 % of the pairs of running text, 36 % of all pairs there are.
_PAIRS = (
    "ab ac ad ag ai ak al am an ap ar as at au av ay ba be bi bl bo br bu by ca cc ce ch ci ck cl co cr ct cu da de di "
    "do dr ds du ea ec ed ee ef eg ei el em en eo ep eq er es et ev ew ex ey fa fe ff fi fo fr ft fu ga ge gh gi go gr "
    "gs gu ha he hi ho hr ht hu hy ia ib ic id ie if ig ik il im in io ip ir is it iv iz ke ki ks la ld le lf li ll lo "
    "ls lt lu ly ma mb me mi mm mo mp mu my na nc nd ne nf ng ni nn no np ns nt nu ny ob oc od oe of og ok ol om on oo "
    "op or os ot ou ov ow pa pe ph pi pl po pp pr ps pt pu py qu ra rc rd re rg ri rk rl rm rn ro rr rs rt ru ry sa sc "
    "se sh si so sp ss st su sw ta te th ti tl to tp tr ts tt tu tw ty ua uc ue ug ui ul um un up ur us ut va ve vi wa "
    "we wh wi wn wo ws xe xp ye yo ys yt"
)


class Text:
    """One text with what the rules share.

    Args:
        text: of which the first ``LONGEST`` characters are read, without white space around them.

    Attributes:
        raw: the text.
        lower: the text in lower case.
        words: runs without white space, and single characters of scripts that have none.
        bare: the words in lower case without the punctuation around them.
        distinct: the different ones of these.
        dense: the text without white space, in UTF-8.
        capital: how many letters A to Z there are.
        latin: how many letters a to z there are, capitals included.
    """

    def __init__(self, text: str) -> None:
        self.raw = text[:LONGEST].strip()
        self.lower = self.raw.lower()
        self.words = _words(self.raw)
        self.bare = [word.strip(".,;:!?\"'()[]{}") for word in _words(self.lower)]
        self.distinct = set(self.bare)
        self.dense = "".join(self.words).encode("utf-8", "replace")
        self.capital = len(self.dense) - len(self.dense.translate(None, _CAPITALS))
        self.latin = self.capital + len(self.dense) - len(self.dense.translate(None, _LATIN))

    @property
    def is_latin(self) -> bool:
        """Whether at least half of the text is Latin letters."""
        return self.latin * 2 >= len(self.dense)


def _words(text: str) -> list[str]:
    return text.split() if text.isascii() or not _HAS_UNSPACED.search(text) else _WORD.findall(text)


def length(text: Text) -> float:
    """Distinct words w as 1 - exp(-w / 25): 5 give 0.18, 25 give 0.63, 100 give 0.98 (C4, Gopher: a least length)."""
    return 1.0 - exp(-len(text.distinct) / 25)


def word_length(text: Text) -> float:
    """Mean word length: full from 2 to 10 characters (Gopher: 3 to 10), nothing from 25; in bytes if not Latin."""
    mean = len(text.dense) / max(1, len(text.words))
    return ramp(mean, 1.0, 2.0) if mean < 2 else ramp(mean, 25.0, 10.0 if text.is_latin else 20.0)


def alphabetic(text: Text) -> float:
    """Share of words with a letter: full from 40 % (Gopher: 80 %, too strict for mathematics), nothing at 0."""
    if not text.is_latin and not text.raw.isascii():
        return ramp(sum(any(map(str.isalpha, word)) for word in text.words) / len(text.words), 0.0, 0.4)
    if text.raw.isascii():
        lettered = len(text.raw.encode("ascii").translate(_SPACES_ALIKE, _NEITHER_LETTER_NOR_SPACE).split())
    else:
        lettered = len(_FROM_FIRST_LETTER.findall(text.raw))
    return ramp(lettered / max(1, len(text.words)), 0.0, 0.4)


def symbols(text: Text) -> float:
    """Letters and digits among the bytes: full from 50 %, nothing at 15 %. Bytes beyond ASCII count as letters."""
    ascii_symbols = len(text.dense.translate(None, _WORD_BYTES))
    return ramp(1 - ascii_symbols / max(1, len(text.dense)), 0.15, 0.5)


def ellipses(text: Text) -> float:
    """Hash signs and ellipses per word: full to 0.1 (Gopher), nothing from 0.6."""
    found = len(_ELLIPSIS.findall(text.raw)) if any(part in text.raw for part in _ELLIPSIS_PARTS) else 0
    return ramp(found / max(1, len(text.words)), 0.6, 0.1)


def stop_words(text: Text) -> float:
    """Two common English words, or key words of code, among ten or more words (Gopher); 0.7 with none.

    Asked only where at least half of the text is Latin letters.
    """
    if len(text.words) < 10 or not text.is_latin:
        return 1.0
    return 0.7 + 0.15 * min(2, len(_STOP_WORDS & text.distinct))


def letters(text: Text) -> float:
    """Neighbouring letters that are common pairs of English: full from 75 %, nothing at 45 %, as in a mashed keyboard.

    Asked only where at least half of the text is Latin letters; the first 2000 characters are read.
    """
    if not text.is_latin:
        return 1.0
    codes = np.frombuffer(text.lower[:2000].encode("ascii", "replace"), dtype=np.uint8).astype(np.intp)
    kinds = _pair_kinds().take(codes[:-1] * 256 + codes[1:]).tobytes()
    common = kinds.count(2)
    pairs = common + kinds.count(1)
    return 1.0 if pairs < 4 else ramp(common / pairs, 0.45, 0.75)


@functools.cache
def _pair_kinds() -> np.ndarray:
    """Table of two bytes, at the first times 256 plus the second: 0 not both letters, 1 letters, 2 a common pair."""
    kinds = np.zeros((256, 256), dtype=np.int8)
    first, last = ord("a"), ord("z") + 1
    kinds[first:last, first:last] = 1
    for pair in _PAIRS.split():
        kinds[ord(pair[0]), ord(pair[1])] = 2
    return kinds.reshape(-1)


def repeated_phrases(text: Text) -> float:
    """Share of three-word phrases that came before: full to 20 % (Gopher: 18 % of characters), nothing from 70 %."""
    words = text.bare
    phrases = len(words) - 2
    return (
        ramp(1 - len(set(zip(words, words[1:], words[2:], strict=False))) / phrases, 0.7, 0.2) if phrases > 0 else 1.0
    )


def repeated_words(text: Text) -> float:
    """Share of the commonest longer word: full to 20 %, nothing from 60 %; asked from four words."""
    words = text.bare
    if len(words) < 4:
        return 1.0
    longer: dict[str, int] = {}
    for word in words:
        if len(word) > 3:
            longer[word] = longer.get(word, 0) + 1
    return ramp(max(longer.values(), default=0) / len(words), 0.6, 0.2)


def repeated_lines(text: Text) -> float:
    """Share of lines that came before: full to 30 % (Gopher, FineWeb), nothing from 90 %."""
    lines = [line for line in text.raw.splitlines() if len(line.strip()) > 3]
    return ramp(1 - len(set(lines)) / len(lines), 0.9, 0.3) if lines else 1.0


def compression(text: Text) -> float:
    """Size when compressed by zlib: full from 25 % of the bytes, nothing at 5 %; asked from 300 characters."""
    if len(text.raw) < 300:
        return 1.0
    raw = text.raw.encode("utf-8", "replace")
    return ramp(len(zlib.compress(raw, 1)) / len(raw), 0.05, 0.25)


def printable(text: Text) -> float:
    """Control, private and replacement characters: full at none, nothing from 5 %."""
    if text.raw.isascii():
        found = len(text.raw) - len(text.raw.encode("ascii").translate(None, _ASCII_CONTROL))
    else:
        found = len(_CONTROL.findall(text.raw))
    return ramp(found / max(1, len(text.raw)), 0.05, 0.0)


def ending(text: Text) -> float:
    """0.9 where the text does not end in punctuation, a bracket or a number (C4, FineWeb: line ends)."""
    return 1.0 if text.raw[-1:] in _ENDINGS else 0.9


def closed(text: Text) -> float:
    """0.85 where brackets or a code fence are left open: the text was cut."""
    raw = text.raw
    open_ = any(abs(raw.count(a) - raw.count(b)) > 1 for a, b in ("()", "[]", "{}")) or raw.count("```") % 2 == 1
    return 0.85 if open_ else 1.0


def capitals(text: Text) -> float:
    """Capitals among the Latin letters: full to 40 %, 0.3 from 90 %."""
    return 0.3 + 0.7 * ramp(text.capital / max(1, text.latin), 0.9, 0.4)


def links(text: Text) -> float:
    """Characters in web addresses: full to 20 %, 0.1 from 70 %."""
    inside = sum(map(len, _URL.findall(text.raw))) if "://" in text.raw or "www." in text.lower else 0
    return 0.1 + 0.9 * ramp(inside / max(1, len(text.dense)), 0.7, 0.2)


def boilerplate(text: Text) -> float:
    """0.4 for each phrase of web furniture ("all rights reserved", "lorem ipsum"; C4) in 50 words."""
    if not any(part in text.lower for part in _BOILERPLATE_PARTS):
        return 1.0
    found = len(_BOILERPLATE.findall(text.lower))
    return float(0.4 ** (found * min(1.0, 50 / max(1, len(text.words)))))


RULES: tuple[Callable[[Text], float], ...] = (
    length,
    word_length,
    alphabetic,
    symbols,
    ellipses,
    stop_words,
    letters,
    repeated_phrases,
    repeated_words,
    repeated_lines,
    compression,
    printable,
    ending,
    closed,
    capitals,
    links,
    boilerplate,
)


@dataclass(frozen=True)
class HeuristicQuality:
    """Quality in [0, 1] as the product of the rules of this module: deterministic, about 9 000 texts of 600
    characters a second on one core.

    It tells junk from text and a detailed text from a bare one. It does not know what is true, useful or well put; for
    that use a model. The rules about letters and stop words know English and code best.
    """

    per_text = True

    @property
    def name(self) -> str:
        """What reports call it."""
        return "heuristic"

    def score(self, pool: Pool) -> np.ndarray:
        """The score of each text, (n,) float64."""
        pool.need("texts")
        assert pool.texts is not None
        return np.fromiter((self.score_text(text) for text in pool.texts), dtype=np.float64, count=len(pool))

    def score_text(self, text: str) -> float:
        """The score of one text."""
        shared = Text(text)
        return prod(rule(shared) for rule in RULES)

    def explain(self, text: str) -> dict[str, float]:
        """The factor that each rule gives; the score is their product.

        >>> HeuristicQuality().explain("word word word word word word")["repeated_words"]
        0.0
        """
        shared = Text(text)
        return {rule.__name__: rule(shared) for rule in RULES}


def ramp(value: float, zero: float, one: float) -> float:
    """0 at ``zero`` and beyond, 1 at ``one`` and beyond, straight between; either may be the larger.

    >>> ramp(0.5, zero=0.0, one=2.0), ramp(3.0, zero=4.0, one=0.0)
    (0.25, 0.25)
    """
    return min(1.0, max(0.0, (value - zero) / (one - zero)))
