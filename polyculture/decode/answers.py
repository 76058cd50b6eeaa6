"""What a response answers: keys that two responses to one question share when they agree, and checks of them.

A key is a string, or None when no answer can be read. :func:`answer_key` finds a reader by name; any callable from text
to string (or None) is one as well.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterable
from fractions import Fraction

from polyculture.errors import unknown
from polyculture.functions import named_function

AnswerOf = Callable[[str], str | None]

_MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "-": "-"})
_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?<![\w.)\]])(?P<sign>[-+])?\s?(?:[$€£]\s?)?(?P<inner>-)?"
    rf"(?:(?P<whole>\d+)[ ](?P<mixed>\d+/[1-9]\d*)|(?P<top>{_PLAIN})(?:\s?/\s?(?P<bottom>{_PLAIN}))?)"
    rf"(?P<power>[eE][-+]?\d{{1,2}})?"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?[\d.,]+)\s*\}\s*\{\s*(-?[\d.,]+)\s*\}")
_LONGEST = 100  # characters; longer runs of digits are noise, and slow to compute with
_STEP = re.compile(r"<<[^<>]*>>")  # GSM8K's calculator annotations
_HEADS = (
    re.compile(r"####\s*(.+)"),
    re.compile(r"(?:^|\n)\s*(?:final\s+)?(?:A|answer)\s*[:=]\s*(.+)", re.IGNORECASE),
    re.compile(r"\banswer\s*(?:is|:|=)\s*(.+)", re.IGNORECASE),
)


def final_number(text: str) -> str | None:
    r"""The number a worked solution ends with, in one canonical form.

    Looked for in this order, the last one of each kind: ``\boxed{...}``; after ``####``; a line ``A: ...``; after "the
    answer is"; else the last number of the text. Commas, currency signs, units and a trailing dot are dropped;
    fractions, mixed numbers and decimals of the same value are the same key.

    Returns:
        An integer ("18"), a terminating decimal ("0.5") or a fraction in lowest terms ("1/3"); None without a number.

    >>> [final_number(t) for t in ("so 3 + 4 = 7\n#### 1,072.", r"\boxed{\frac{2}{4}}", "about $18.50 each", "none")]
    ['1072', '0.5', '18.5', None]
    """
    text = _STEP.sub("", text) if "<<" in text else text
    text = text if text.isascii() else text.translate(_MINUS)
    boxed = _boxed(text)
    if boxed is not None and (number := _last_number(boxed)) is not None:
        return number
    for head in _HEADS:
        found = head.findall(text)
        if found and (number := _first_number(found[-1])) is not None:
            return number
    return _last_number(text)


def _boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` holds, braces inside it included."""
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len(r"\boxed{")
    for end in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[begin:end]
    return text[begin:]


def boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` holds: its number if it is one, else its text without spaces; or None."""
    inner = _boxed(text)
    if inner is None or not inner.strip():
        return None
    match = _NUMBER.fullmatch(_plain_fractions(inner.translate(_MINUS)).strip().rstrip(".%").strip("$ "))
    return (match and _canonical(match)) or re.sub(r"\s+", "", inner)


def _plain_fractions(text: str) -> str:
    return _FRACTION.sub(r"\1/\2", text) if "frac" in text else text


def _first(matches: Iterable[re.Match[str]]) -> str | None:
    return next((number for match in matches if (number := _canonical(match)) is not None), None)


def _first_number(text: str) -> str | None:
    text = _plain_fractions(text)
    sum_, equals, result = text.rpartition("=")
    if equals and not re.search("[A-Za-z]", sum_) and (number := _first(_NUMBER.finditer(result))) is not None:
        return number  # "A: 2 * 9 = 18": the result stands last
    return _first(_NUMBER.finditer(text))


def _last_number(text: str) -> str | None:
    return _first(reversed(list(_NUMBER.finditer(_plain_fractions(text)))))


def _canonical(match: re.Match[str]) -> str | None:
    if len(match[0]) > _LONGEST:
        return None
    whole, mixed, top, bottom = (match[name] for name in ("whole", "mixed", "top", "bottom"))
    negative = bool(match["inner"]) or (match["sign"] == "-" and not match[0].startswith("- "))  # "16 - 3" subtracts
    if top and top.isdecimal() and not (bottom or match["power"]):
        return str(-int(top) if negative else int(top))
    try:
        if mixed:
            value = Fraction(whole) + Fraction(mixed)
        else:
            value = Fraction(top.replace(",", "")) / Fraction((bottom or "1").replace(",", ""))
        if match["power"]:
            value *= Fraction(10) ** int(match["power"][1:])
    except ZeroDivisionError:
        return None
    return _written(-value if negative else value)


def _written(value: Fraction) -> str:
    rest, digits = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        digits = max(digits, power)
    if rest != 1 or digits > 30:
        return str(value)
    if digits == 0:
        return str(value.numerator)
    scaled = abs(value.numerator) * 10**digits // value.denominator
    whole, part = divmod(scaled, 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{digits}d}"


def exact_match(text: str) -> str | None:
    """The text without case, ligatures, quotes around it, closing punctuation, repeated space; None if none is left.

    >>> exact_match("  The  Hague. ")
    'the hague'
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.lstrip("\"'`“‘ ").rstrip(".,;:!?\"'`”’ ") or None


def parse_choice(text: str, n_choices: int = 4, *, strict: bool = False) -> str | None:
    """The letter chosen among A, B, ...: the last one followed by ``)``, else the last such capital anywhere.

    Args:
        text: a response.
        n_choices: number of choices, 1 to 26.
        strict: leave out a capital that is part of a longer word, and "I" and "A" where they read as English words
            (before a lower-case word).

    Returns:
        The letter, or None.

    >>> parse_choice("not A) but the answer is (C).")
    'C'
    """
    letters = string.ascii_uppercase[:n_choices]
    found: list[str] = re.findall(rf"([{letters}])\)", text)
    if not found and strict:
        found = [m[0] for m in re.finditer(rf"\b[{letters}]\b(?!'\w)", text) if not _reads_as_word(text, m)]
    elif not found:
        found = re.findall(rf"[{letters}]", text)
    return found[-1] if found else None


def _reads_as_word(text: str, match: re.Match[str]) -> bool:
    return match[0] in "AI" and re.match(r"\s+[a-z]", text[match.end() :]) is not None


def choice(text: str) -> str | None:
    """The chosen letter of up to ten choices, A to J; strict, see :func:`parse_choice`."""
    return parse_choice(text, 10, strict=True)


READERS: dict[str, AnswerOf] = {
    "final-number": final_number,
    "exact-match": exact_match,
    "choice": choice,
    "boxed": boxed,
}


def answer_key(spec: str | AnswerOf) -> AnswerOf:
    """A reader of answers by name ("final-number", "exact-match", "choice", "boxed"), by ``python:module:function``, or
    the callable itself; what it returns becomes a string, and nothing or an empty string becomes None.

    Raises:
        UnknownMethod: no reader of that name.
        BadInput: the function can't be loaded.
    """
    if isinstance(spec, str):
        if spec in READERS:
            return READERS[spec]
        if not spec.startswith("python:"):
            raise unknown("answer reader", spec, READERS)
        spec = named_function(spec)
    reader = spec

    def read(text: str) -> str | None:
        value = reader(text)
        return None if value is None or value == "" else str(value)

    return read


def check(key: str | None, reference: str, answer_of: str | AnswerOf = "final-number") -> bool:
    r"""Whether an answer key is that of the reference solution.

    Args:
        key: what was answered, or None.
        reference: the reference, a bare answer or a worked solution.
        answer_of: how the reference is read; the same that gave the key.

    >>> check("18", "She sells 9 eggs for $2.\nA: 18")
    True
    """
    expected = answer_key(answer_of)(reference)
    return key is not None and expected is not None and key == expected
