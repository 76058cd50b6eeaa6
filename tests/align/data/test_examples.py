"""Rows to examples: what each kind of data serves, what is set aside, and what is said of columns that don't fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from polyculture.align.data.examples import PlacedRow, prompt_text, read_examples, readable_rows
from polyculture.align.data.splitting import split_prompt
from polyculture.errors import BadInput

PAIR = {"prompt": "Hi", "chosen": " yes", "rejected": " no"}
CHAT = [{"role": "user", "content": "Hi"}]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_pairs_serve_every_kind_of_objective() -> None:
    (pair,), rejected = read_examples([PAIR], "pairs")
    assert (pair.prompt, pair.completions, rejected) == ("Hi", (" yes", " no"), [])
    (shown,), _ = read_examples([PAIR], "demonstrations")
    assert shown.completions == (" yes",)
    labels, _ = read_examples([PAIR], "labels")
    assert [(e.completions, e.desirable) for e in labels] == [((" yes",), True), ((" no",), False)]
    (ranking,), _ = read_examples([PAIR], "rankings")
    assert ranking.completions == (" yes", " no")
    (asked,), _ = read_examples([PAIR], "samples")
    assert asked.prompt == "Hi"


def test_a_transcript_is_split_at_its_last_shared_turn() -> None:
    shared = "\n\nHuman: a?\n\nAssistant: b\n\nHuman: c?\n\nAssistant:"
    prompt, chosen, rejected = split_prompt(shared + " The one", shared + " The other\n\nHuman: d")
    assert prompt == shared and chosen == " The one" and rejected == " The other\n\nHuman: d"


@pytest.mark.parametrize(
    ("chosen", "rejected", "split"),
    [
        ("the cat sat", "the cat ran", ("the cat", " sat", " ran")),
        ("the cart", "the cat", ("the", " cart", " cat")),
        ("abc", "xyz", ("", "abc", "xyz")),
        ("same", "same", ("", "same", "same")),
        ("more", "more and more", ("more", "", " and more")),
        ("Q:\nyes", "Q:\nno", ("Q:\n", "yes", "no")),
        ("a  b", "a  c", ("a ", " b", " c")),
    ],
)
def test_other_texts_share_whole_words(chosen: str, rejected: str, split: tuple[str, str, str]) -> None:
    assert split_prompt(chosen, rejected) == split


def test_message_lists_share_their_first_turns() -> None:
    prompt, chosen, rejected = split_prompt([*CHAT, *answer("a")], [*CHAT, *answer("b")])
    assert (prompt, chosen, rejected) == (CHAT, answer("a"), answer("b"))
    (example,), _ = read_examples([{"prompt": CHAT, "chosen": "a", "rejected": "b"}], "pairs")
    assert example.completions == (answer("a"), answer("b"))  # plain answers to a chat are the assistant's turn
    (example,), _ = read_examples([{"prompt": CHAT, "chosen": [*CHAT, *answer("a")], "rejected": answer("b")}], "pairs")
    assert example.completions == (answer("a"), answer("b"))
    assert "user" in prompt_text(CHAT).lower()


def test_rankings_give_pairs_of_the_best_with_every_worse_one() -> None:
    row = {"prompt": "p", "responses": ["b", "a", "c", "d", "n"], "scores": [2, 3, 1, 3, math.nan]}
    pairs, _ = read_examples([row], "pairs", columns=("margin",))
    assert [e.completions for e in pairs] == [("a", "c"), ("a", "b")]
    assert [e.numbers["margin"] for e in pairs] == [2.0, 1.0]
    (ranking,), _ = read_examples([row], "rankings")
    assert ranking.completions == ("a", "b", "c")  # of ties the first: no order is made up
    tied = {"prompt": "p", "responses": ["a", "b"], "scores": [1, 1]}
    with pytest.raises(BadInput, match="fewer than two responses have different scores"):
        read_examples([tied], "pairs")


def test_what_teaches_nothing_is_set_aside_with_its_reason() -> None:
    rows = [PAIR, {**PAIR, "rejected": "yes "}, {**PAIR, "chosen": "  "}, {**PAIR, "margin": 1.0}]
    examples, rejected = read_examples(rows, "pairs", source="d.jsonl")
    assert len(examples) == 2
    assert [(r.place, r.reason) for r in rejected] == [
        ("d.jsonl row 2", "chosen and rejected are the same"),
        ("d.jsonl row 3", "a completion is empty (chosen)"),
    ]
    nan = [{**PAIR, "margin": 1.0}, {**PAIR, "margin": math.nan}]
    examples, rejected = read_examples(nan, "pairs", columns=("margin",))
    assert [e.numbers for e in examples] == [{"margin": 1.0}] and "margin is not a finite number" in rejected[0].reason


def test_margins_come_from_scores_of_both_sides() -> None:
    (example,), _ = read_examples([{**PAIR, "score_chosen": 4, "score_rejected": 1.5}], "pairs", columns=("margin",))
    assert example.numbers == {"margin": 2.5}


def test_labels_and_demonstrations() -> None:
    rows = [{"prompt": "p", "completion": "c", "label": True}, {"prompt": "p", "completion": "d", "label": 0}]
    examples, _ = read_examples(rows, "labels")
    assert [e.desirable for e in examples] == [True, False]
    (example,), _ = read_examples([{"messages": [*CHAT, *answer("a")]}], "demonstrations")
    assert example.prompt == CHAT and example.completions == (answer("a"),)
    (example,), _ = read_examples([{"prompt": CHAT, "response": "a"}], "demonstrations")
    assert example.completions == (answer("a"),)


@pytest.mark.parametrize(
    ("label", "wanted"),
    [(True, True), (0, False), (1.0, True), ("True", True), ("false", False), ("1", True), (np.bool_(False), False)],
)
def test_a_label_is_read_as_a_table_or_a_file_writes_it(label: object, wanted: bool) -> None:
    (example,), _ = read_examples([{"prompt": "p", "completion": "c", "label": label}], "labels")
    assert example.desirable is wanted


def test_a_long_list_of_fitting_objectives_is_cut() -> None:
    with pytest.raises(BadInput, match=r"which fit pl, \S+, \S+, \S+, \S+, \S+ and \d+ more$"):
        read_examples([{"prompt": "p", "responses": ["a", "b"], "scores": [1, 2]}], "labels", name="kto")


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([], "pairs", "there are no rows"),
        (
            [{"text": "x"}],
            "pairs",
            "needs the columns prompt, chosen, rejected .*; there are text; rename yours, as with --column",
        ),
        ([{"prompt": "p", "completion": "c", "label": True}], "pairs", "which fit .*kto"),
        ([PAIR, {"prompt": "p", "chosen": "c"}], "pairs", "row 2: column 'rejected' is missing or null"),
        ([{**PAIR, "chosen": 3}], "pairs", "row 1: 'chosen' should be text or a list of chat messages, not int"),
        ([{**PAIR, "chosen": answer("a")}], "pairs", "should both be text, or both lists of messages"),
        ([{"prompt": "p", "responses": ["a"], "scores": [1, 2]}], "pairs", "1 responses and 2 scores"),
        ([{"prompt": "p", "responses": "a", "scores": [1]}], "pairs", "should be lists"),
        ([{"prompt": "p", "completion": "c", "label": "yes"}], "labels", "'label' should be true or false"),
        ([{"messages": CHAT}], "demonstrations", "the last of 'messages' should be the assistant's"),
        ([{"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}], "pairs", "a 'role' and a 'content'"),
    ],
)
def test_bad_rows_are_named_with_the_remedy(rows: list[dict[str, object]], kind: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_examples(rows, kind, name="the-objective")  # type: ignore[arg-type]


def test_a_missing_number_names_the_option_that_computes_it() -> None:
    with pytest.raises(BadInput, match=r"needs the column 'difficulty'.*--column difficulty=SOURCE"):
        read_examples([PAIR], "pairs", columns=("difficulty",))
    with pytest.raises(BadInput, match="'difficulty' should hold numbers"):
        read_examples([{**PAIR, "difficulty": "high"}], "pairs", columns=("difficulty",))


def test_rows_that_can_not_be_read_are_set_aside_and_the_others_keep_their_places() -> None:
    rows = [PAIR, {**PAIR, "rejected": None}, {**PAIR, "rejected": 7}, {**PAIR, "chosen": ""}]
    with pytest.raises(BadInput, match=r"d.jsonl row 2: column 'rejected' is missing or null"):
        readable_rows(rows, "pairs", source="d.jsonl")
    kept, unread = readable_rows(rows, "pairs", source="d.jsonl", skip=True)
    assert kept == [rows[0], rows[3]]
    assert [(one.place, one.reason[:10]) for one in unread] == [
        ("d.jsonl row 2", "column 're"),
        ("d.jsonl row 3", "'rejected'"),
    ]
    examples, rejected = read_examples(kept, "pairs")
    assert [one.place for one in (*examples, *rejected)] == ["d.jsonl row 1", "d.jsonl row 4"]
    with pytest.raises(BadInput, match=r"d.jsonl: no row can be read; d.jsonl row 1: "):
        readable_rows(rows[1:3], "pairs", source="d.jsonl", skip=True)
    assert PlacedRow(PAIR, "here") == PAIR


@pytest.mark.parametrize("several", [{"train": [PAIR]}, ["train", "test"]])
def test_several_data_sets_are_not_rows(several: object) -> None:
    with pytest.raises(BadInput, match=r"data: should be rows, each a dict of columns; of several .* give one"):
        read_examples(several, "pairs", source="data")  # type: ignore[arg-type]


def test_margin_rewards_are_made_by_their_own_option() -> None:
    with pytest.raises(BadInput, match=r"compute it with --margin-rewards$"):
        read_examples([PAIR], "pairs", columns=("margin_rewards_chosen",))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": answer("Yes")},
        {"prompt": "Hi", "responses": [answer("Yes"), answer("No")], "scores": [2, 1]},
        {"prompt": "Hi", "responses": ["Yes", answer("No")], "scores": [2, 1]},
        {"prompt": "Hi", "chosen": answer("Yes"), "rejected": answer("No")},
    ],
)
def test_a_text_that_is_answered_by_messages_is_the_users_turn(row: dict[str, Any]) -> None:
    (example,), _ = read_examples([row], "demonstrations")
    assert example.prompt == CHAT and example.completions == (answer("Yes"),)


def test_answers_without_a_turn_before_them_are_set_aside() -> None:
    fine = {"chosen": [*CHAT, *answer("a")], "rejected": [*CHAT, *answer("b")]}
    examples, rejected = read_examples([fine, {"chosen": answer("a"), "rejected": answer("b")}], "pairs")
    assert len(examples) == 1 and "no turn comes before the answers" in rejected[0].reason
    _, rejected = read_examples([{"messages": CHAT + answer("a")}, {"messages": answer("a")}], "demonstrations")
    assert rejected[0].place == "row row 2" and "no turn comes before" in rejected[0].reason


def test_a_prompt_that_the_answers_repeat_otherwise_is_noticed() -> None:
    row = {"prompt": "Hi ", "chosen": [*CHAT, *answer("a")], "rejected": [*CHAT, *answer("b")]}
    with pytest.raises(BadInput, match="row 1: the prompt ends with the user's turn, and an answer begins with ano"):
        read_examples([row], "pairs")
    (example,), _ = read_examples([{**row, "prompt": "Hi"}], "pairs")
    assert example.prompt == CHAT and example.completions == (answer("a"), answer("b"))


def test_calls_of_tools_are_not_left_out_in_silence() -> None:
    calls = [{"role": "assistant", "content": "Let me see", "tool_calls": [{"name": "search"}]}]
    with pytest.raises(BadInput, match="row 1: the messages in 'chosen' call tools"):
        read_examples([{"prompt": CHAT, "chosen": calls, "rejected": answer("b")}], "pairs")
    null = [{"role": "assistant", "content": "a", "tool_calls": None}]  # as the datasets library fills columns up
    assert read_examples([{"prompt": CHAT, "chosen": null, "rejected": answer("b")}], "pairs")[0]


def test_numbers_of_numpy_are_numbers() -> None:
    row = {**PAIR, "margin": np.float32(0.5)}
    (example,), _ = read_examples([row], "pairs", columns=("margin",))
    assert example.numbers == {"margin": 0.5} and type(example.numbers["margin"]) is float


def test_half_a_character_is_replaced() -> None:
    said = [{"role": "assistant", "content": "b \ud83d"}]
    (example,), _ = read_examples([{"prompt": "é \udc00", "chosen": said, "rejected": answer("c")}], "pairs")
    assert example.prompt == [{"role": "user", "content": "é ?"}] and example.texts() == ["b ?", "c"]
