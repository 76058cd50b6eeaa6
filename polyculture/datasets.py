"""A demonstration data set: instructions whose topics, quality, near-duplicates and junk are known.

What a selection should find is known for every record, so that a method can be judged by what it kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from polyculture.demo_topics import TOPICS
from polyculture.errors import BadInput
from polyculture.files import atomic

SHARES = {"good": 0.5, "plain": 0.3, "duplicate": 0.12, "junk": 0.08}
"""The kinds of record and how often each is drawn."""

_ASKS = (
    "Explain {aspect} in the case of {thing}",
    "Write about {thing} and say {aspect}",
    "Describe {thing}, with attention to {aspect}",
    "I want to learn about {thing}; show me {aspect}",
    "Give me an introduction to {thing} that covers {aspect}",
    "Compare two approaches to {thing} and discuss {aspect}",
    "Make a short guide to {thing} that shows {aspect}",
    "What should I know about {thing}, and in particular {aspect}",
)
_BARE = (
    "Tell me about {thing}",
    "{Thing}: {aspect}?",
    "Say something on {thing}",
    "What about {thing}",
    "I need help with {thing}",
    "Short answer: {aspect} ({thing})",
    "Write two lines on {thing}, {aspect}",
)
_AUDIENCES = (
    "for a curious twelve-year-old",
    "for a reader with no background",
    "for first-year students",
    "for a busy professional who has five minutes",
    "for my grandmother, who likes plain words",
    "for a group that has met the subject once before",
    "for the newsletter of a local club",
    "for someone who learns best from examples",
)
_CONTEXTS = (
    "I am preparing a lesson on {topic} for next week.",
    "Our team disagrees about this, and I would like a fair overview.",
    "I tried twice and was not happy with the result.",
    "This is for a talk on {topic} at the public library.",
    "I have read one article on {topic}, and it left me with more questions than answers.",
    "A friend asked me about {thing} yesterday, and I could not give a clear answer.",
    "I have about two hours and only basic tools.",
    "Last month I got {thing} wrong, and I want to understand why.",
)
_CONSTRAINTS = (
    "Give one concrete example of {thing} and name one common mistake.",
    "Use at most two hundred words and end with a question to think about.",
    "Number the steps, and say after each one how to tell that it worked.",
    "Start with what matters most for {thing} and leave details for later.",
    "Avoid technical terms, or define each of them when it first appears.",
    "Mention where a reader can learn more of {topic}.",
    "Contrast it with a case where the opposite holds.",
    "Close with a checklist of three items.",
)
_LINKS = ("In practice,", "Besides,", "It helps to remember this:", "Beyond that,")
_ADVICE = (
    "The question of {aspect} deserves the most care here, because small choices early on decide the rest.",
    "A common mistake is to hurry past {aspect}; take the time to check it with an example of your own.",
    "As for {aspect}, begin with the simplest case, note what you observe, and change one thing at a time.",
    "Ask yourself {aspect} before anything else, and write the answer down in a single sentence.",
)
_CLOSINGS = (
    "If only one point stays with you, let it be this one, and test it on a case you know well.",
    "To go further, repeat the exercise with a harder case and compare the two results.",
    "Where would you expect this to fail, and what would you look at first to find out?",
    "In short: start small, check each step, and keep notes of what changed.",
)
_NAMES = {"sql": "SQL", "python": "Python", "web": "web pages", "email": "writing email", "git": "Git"}
_REPLIES = ("It depends.", "Sure, here it is.", "That is a broad subject.", "Not much to add.", "Look it up.")
_SWAPS = (
    ("Explain", "Please explain"),
    ("Write about", "Please write about"),
    ("Describe", "Can you describe"),
    ("Give me", "Could you give me"),
    ("Make a short guide", "Make me a short guide"),
    ("I want to learn", "I would like to learn"),
    ("What should I know", "What do I need to know"),
    ("Compare two", "Compare and contrast two"),
    ("Tell me", "Please tell me"),
    ("I need help", "I need some help"),
)
_FURNITURE = (
    "Home | About us | Contact | Privacy policy | Terms of use | All rights reserved",
    "CLICK HERE to sign up now!!! BEST PRICE, limited time offer >>> www.deals.example/buy",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor",
    "We use cookies. Accept all | Cookie policy | Subscribe to our newsletter | Follow us on social media",
    "404 Page not found - Skip to content - Powered by sitebuilder",
)


def make_instructions(n: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """Records in the manner of an instruction-tuning set, from 24 topics of six domains in Zipf sizes.

    Each has ``id``, ``prompt``, ``response``, ``topic``, ``domain``, ``kind``, ``quality`` and ``duplicate_of``:

    - ``good`` (about 50 %): a detailed request and a coherent answer; quality 0.6 to 1, more with more detail.
    - ``plain`` (30 %): a bare request and a thin answer; quality 0.25 to 0.55.
    - ``duplicate`` (12 %): an earlier good or plain record (``duplicate_of``), reworded; quality just below it.
    - ``junk`` (8 %): mashed keys, one word over and over, web furniture, broken encodings, in any topic's place;
      quality 0 to 0.1.

    Args:
        n: how many records; the first is never a duplicate.
        seed: the same seed gives the same records.

    Raises:
        BadInput: n is negative.
    """
    if n < 0:
        raise BadInput(f"n should be 0 or more, not {n}")
    random = Random(seed)
    sizes = [1 / rank for rank in range(1, len(TOPICS) + 1)]
    records: list[dict[str, Any]] = []
    originals: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, topic in enumerate(random.choices(TOPICS, weights=sizes, k=n)):
        kind = random.choices(list(SHARES), weights=list(SHARES.values()))[0]
        if kind == "duplicate" and not originals:
            kind = "good"
        record = {"id": f"r{number:05d}", "topic": topic[0], "domain": topic[1], "kind": kind, "duplicate_of": None}
        if kind == "duplicate":
            record |= _duplicate(random, random.choice(originals))
        elif kind == "junk":
            record |= _junk(random)
        else:
            record |= _fresh(random, topic, kind, seen)
            originals.append(record)
        order = ("id", "prompt", "response", "topic", "domain", "kind", "quality", "duplicate_of")
        records.append({key: record[key] for key in order})
    return records


def write_instructions(path: Path | str, n: int = 2000, seed: int = 0) -> None:
    """Write :func:`make_instructions` as JSON lines, atomically."""
    with atomic(Path(path)) as file:
        for record in make_instructions(n, seed):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _fresh(random: Random, topic: tuple[str, ...], kind: str, seen: set[str]) -> dict[str, Any]:
    make = _good if kind == "good" else _plain
    for _ in range(50):  # a small topic runs out of distinct bare prompts when n is very large
        record = make(random, topic)
        if record["prompt"] not in seen:
            break
    seen.add(record["prompt"])
    return record


def _good(random: Random, topic: tuple[str, ...]) -> dict[str, Any]:
    slots, sentences = _slots(random, topic), topic[4].split("|")
    detail = random.randint(1, 4)
    prompt = random.choice(_ASKS).format(**slots)
    prompt += f", {random.choice(_AUDIENCES)}" if detail > 1 or random.random() < 0.5 else ""
    prompt += "?" if prompt.startswith("What") else "."
    if detail > 2:
        prompt = f"{random.choice(_CONTEXTS).format(**slots)} {prompt}"
    prompt = " ".join([prompt, *(text.format(**slots) for text in random.sample(_CONSTRAINTS, detail // 2))])
    body = random.sample(sentences, min(4, detail + 1))
    body.insert(random.randint(1, len(body)), random.choice(_ADVICE))
    links = random.sample(_LINKS, detail)
    parts = [
        body[0],
        *(_linked(link, text) for link, text in zip(links, body[1:], strict=False)),
        *body[1 + len(links) :],
    ]
    if detail > 1:
        parts.append(random.choice(_CLOSINGS))
    quality = 0.6 + 0.08 * detail + random.uniform(0, 0.08)
    return {"prompt": prompt, "response": " ".join(parts).format(**slots), "quality": round(quality, 3)}


def _plain(random: Random, topic: tuple[str, ...]) -> dict[str, Any]:
    slots = _slots(random, topic)
    prompt = random.choice(_BARE).format(**slots)
    helpful = random.random() < 0.5
    response = random.choice(topic[4].split("|")).format(**slots) if helpful else random.choice(_REPLIES)
    quality = (0.4 if helpful else 0.25) + random.uniform(0, 0.15)
    return {"prompt": prompt, "response": response, "quality": round(quality, 3)}


def _duplicate(random: Random, original: dict[str, Any]) -> dict[str, Any]:
    prompt = str(original["prompt"])
    for old, new in _SWAPS:
        if old in prompt:
            prompt = prompt.replace(old, new, 1)
            break
    prompt = random.choice((prompt, prompt + " Thanks!", prompt.rstrip(".?") + ", please.", prompt.lower()))
    if prompt == original["prompt"]:
        prompt += " Thank you."
    quality = max(0.0, float(original["quality"]) - random.uniform(0.01, 0.05))
    return {
        "prompt": prompt,
        "response": original["response"],
        "topic": original["topic"],
        "domain": original["domain"],
        "quality": round(quality, 3),
        "duplicate_of": original["id"],
    }


def _junk(random: Random) -> dict[str, Any]:
    def mash() -> str:
        rows = ("asdfghjkl", "qwrtp", "zxcvbnm", "sdfkjh")
        return " ".join("".join(random.choices(random.choice(rows), k=random.randint(3, 11))) for _ in range(8))

    word = random.choice(("test", "hello", "buy", "lol", "ok", "data", "null", "yes"))
    broken = "".join(chr(random.choice((0xFFFD, random.randint(1, 31), random.randint(0xA0, 0xFF)))) for _ in range(40))
    prompt = random.choice(
        (
            mash(),
            " ".join([word] * random.randint(6, 40)),
            random.choice(_FURNITURE),
            broken,
            "?" * random.randint(3, 20),
        )
    )
    response = random.choice((mash(), "", prompt, random.choice(_FURNITURE), "n/a"))
    return {"prompt": prompt, "response": response, "quality": round(random.uniform(0, 0.1), 3)}


def _slots(random: Random, topic: tuple[str, ...]) -> dict[str, Any]:
    """A subject, an aspect, and numbers that belong together: a x + b = c, and a right triangle p, q, r."""
    thing, aspect = random.choice(topic[2].split(";")), random.choice(topic[3].split(";"))
    a, b, x, k = random.randint(2, 9), random.randint(1, 20), random.randint(2, 12), random.randint(5, 30)
    return {
        "thing": thing,
        "Thing": thing[0].upper() + thing[1:],
        "aspect": aspect,
        "topic": _NAMES.get(topic[0], topic[0]),
        "a": a,
        "b": b,
        "c": a * x + b,
        "x": x,
        "p": 3 * k,
        "q": 4 * k,
        "r": 5 * k,
        "ratio": "three in five",
    }


def _linked(link: str, sentence: str) -> str:
    keeps = sentence.split(" ", 1)[0] in {"Dear", "Ladies", "JavaScript"}
    return f"{link} {sentence if keeps else sentence[0].lower() + sentence[1:]}"
