from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.studies.algebra import (
    LAWS,
    Identity,
    algebra_examples,
    draw_identities,
    parse,
    random_expression,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def equal_everywhere(identity: Identity) -> bool:
    draw = rng(5)
    values = [{name: int(draw.integers(-40, 40)) for name in "ABC"} for _ in range(8)]
    return all(identity.left.value(v) == identity.right.value(v) for v in values)


def test_the_laws_are_true() -> None:
    assert all(equal_everywhere(Identity.of(a, b)) for a, b in LAWS)


def test_drawn_identities_are_true_and_different() -> None:
    found = draw_identities(120, rng())
    assert all(equal_everywhere(identity) for identity in found)
    texts = {(str(i.left), str(i.right)) for i in found}
    assert len(texts) == 120 and not texts & {(right, left) for left, right in texts}
    assert max(len(side) for pair in texts for side in pair) <= 9
    assert draw_identities(40, rng()) == found[:40]
    avoided = {(str(i.left), str(i.right)) for i in draw_identities(20, rng(), avoid=found)}
    assert not avoided & texts
    with pytest.raises(BadInput, match="allow longer ones"):
        draw_identities(5, rng(), longest=2)


def test_expressions() -> None:
    tree = parse("*+pq²-r2")
    assert tree.infix == "((p + q) * (r - 2)²)" and str(tree) == "*+pq²-r2" and tree.depth == 3
    assert tree.value({"p": 1, "q": 2, "r": 5}) == 27
    assert [str(tree.at(place)) for place in tree.places()] == ["*+pq²-r2", "+pq", "p", "q", "²-r2", "-r2", "r", "2"]
    assert str(tree.put((1, 0), parse("t"))) == "*+pq²t"
    for depth in range(5):
        assert {random_expression(depth, rng(i)).depth for i in range(20)} == {depth}


@pytest.mark.parametrize(("text", "message"), [("+p", "ends before"), ("pq", "goes on after"), ("", "ends before")])
def test_what_is_no_expression(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(text)


def test_an_identity_rewrites_its_first_match() -> None:
    squares = Identity.of("-²A²B", "*+AB-AB")
    assert squares.rewrite(parse("+5-²p²*qr")) == parse("+5*+p*qr-p*qr")
    assert str(squares.rewrite(parse("+-²p²q-²r²s"))) == "+*+pq-pq-²r²s"
    assert squares.rewrite(parse("+²p²q")) is None
    assert Identity.of("+AA", "*2A").rewrite(parse("+pq")) is None
    assert str(Identity.of("+AA", "*2A").rewrite(parse("+*pq*pq"))) == "*2*pq"
    with pytest.raises(BadInput, match="'B' is not on the left"):
        Identity.of("²A", "*AB")


def test_examples_are_right_and_different() -> None:
    identities = draw_identities(10, rng())
    train = algebra_examples(identities, [30] * 10, rng(1), depth=2)
    assert len(train) == len({(e.s, e.x, e.y) for e in train}) == 300
    draw = rng(2)
    values = {name: int(draw.integers(-9, 9)) for name in "pqrst"}
    for e in train:
        assert str(Identity.of(e.x, e.y).rewrite(parse(e.s))) == e.output
        assert parse(e.s).value(values) == parse(e.output).value(values)
    test = algebra_examples(identities, [10] * 10, rng(1), depth=2, avoid=train)
    assert not {(e.s, e.x, e.y) for e in train} & {(e.s, e.x, e.y) for e in test}
    with pytest.raises(BadInput, match="a depth counts operators"):
        algebra_examples(identities, [1] * 10, rng(), depth=-1)
    with pytest.raises(BadInput, match="use deeper ones"):
        algebra_examples([Identity.of("²A", "*AA")], [50], rng(), depth=0, inner_depth=0)
