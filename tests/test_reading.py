from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyculture.errors import BadInput
from polyculture.reading import read_pool

ROWS = [
    {"prompt": "Add 2 and 3", "answer": "5", "q": 0.9, "topic": "math"},
    {"prompt": "Name a tree", "answer": "Oak", "q": 0.5, "topic": "plants"},
    {"prompt": "Add 4 and 4", "answer": "8", "q": 0.7, "topic": "math"},
]


def jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_jsonl_keeps_each_record_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    line = '{"prompt":  "spaced",   "n": 1.50, "extra": {"deep": [1]}}'
    path.write_text(line + "\n")
    pool = read_pool(path, text="prompt")
    assert list(pool.records.lines()) == [line]


def test_columns_are_read_by_name(tmp_path: Path) -> None:
    pool = read_pool(jsonl(tmp_path / "d.jsonl", ROWS), text=["prompt", "answer"], quality="q", groups="topic")
    assert pool.texts is not None and pool.texts[0] == "Add 2 and 3\n\n5"
    assert pool.quality is not None and pool.quality.tolist() == [0.9, 0.5, 0.7]
    assert pool.groups is not None and [pool.group_names[g] for g in pool.groups] == ["math", "plants", "math"]
    assert len(pool.take([2, 0])) == 2
    assert pool.take([2, 0]).records.row(0)["answer"] == "8"


def test_text_columns_may_be_given_with_a_comma(tmp_path: Path) -> None:
    pool = read_pool(jsonl(tmp_path / "d.jsonl", ROWS), text="prompt,answer")
    assert pool.texts is not None and pool.texts[1] == "Name a tree\n\nOak"


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_pool(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"d.{ending}"
    if ending == "jsonl":
        jsonl(path, ROWS)
    elif ending == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    elif ending == "json":
        path.write_text(json.dumps(ROWS))
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        mark = "," if ending == "csv" else "\t"
        path.write_text(
            "\n".join(mark.join(str(v) for v in row) for row in [list(ROWS[0]), *(r.values() for r in ROWS)])
        )
    pool = read_pool(path, text="prompt", quality="q", groups="topic")
    assert pool.texts is not None and pool.texts.to_list() == [r["prompt"] for r in ROWS]
    assert pool.q.tolist() == [0.9, 0.5, 0.7]
    assert pool.group_names == ("math", "plants")


def test_a_folder_is_read_in_name_order(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", ROWS[:1])
    (tmp_path / "b.csv").write_text("prompt,q,topic\nName a tree,0.5,plants\n")
    pool = read_pool(tmp_path, text="prompt", quality="q", groups="topic")
    assert pool.texts is not None and pool.texts.to_list() == ["Add 2 and 3", "Name a tree"]
    assert [pool.group_names[g] for g in pool.groups] == ["math", "plants"]  # type: ignore[union-attr]


def test_a_saved_dataset_is_read(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "ds"))
    assert len(read_pool(tmp_path / "ds", text="prompt")) == 3
    splits = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "dict"))
    assert len(read_pool(tmp_path / "dict", text="prompt")) == 3
    assert len(read_pool(tmp_path / "dict", text="prompt", split="test")) == 1
    with pytest.raises(BadInput, match="its splits are train, test, not 'dev'; choose one with --split"):
        read_pool(tmp_path / "dict", text="prompt", split="dev")


def test_chats_become_text(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]}]
    pool = read_pool(jsonl(tmp_path / "d.jsonl", [{"messages": chat}]))
    assert pool.texts is not None and pool.texts[0] == "user: Hi\nassistant: Yes?"


def test_vectors_become_embeddings(tmp_path: Path) -> None:
    pool = read_pool(jsonl(tmp_path / "d.jsonl", [{"v": [1, 2]}, {"v": [3, 4]}]), vectors="v")
    assert pool.texts is None
    np.testing.assert_array_equal(pool.X, [[1, 2], [3, 4]])


BAD = {
    "empty": ("", "there are no rows"),
    "missing": ('{"prompt": "a"}\n{"text": "b"}\n', r"d\.jsonl line 2: column 'prompt' is missing; columns are text"),
    "near": ('{"promt": "a"}\n', r"did you mean 'promt'"),
    "cut": ('{"prompt": "a"}\n{"prompt": "b', r"line 2: is not valid JSON .* cut short"),
    "list": ("[1, 2]\n", r"line 1: the row is a list \(\[1, 2\]\)"),
    "null": ('{"prompt": null}\n', r"line 1: column 'prompt' is null"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    (tmp_path / "d.jsonl").write_text(content)
    with pytest.raises(BadInput, match=message):
        read_pool(tmp_path / "d.jsonl", text="prompt")


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"high"', "null"])
def test_quality_must_be_a_finite_number(tmp_path: Path, value: str) -> None:
    (tmp_path / "d.jsonl").write_text(f'{{"prompt": "a", "q": {value}}}\n')
    with pytest.raises(BadInput, match=r"d\.jsonl line 1: column 'q' is .*(finite|number)"):
        read_pool(tmp_path / "d.jsonl", text="prompt", quality="q")


def test_binary_junk_is_said_to_be_binary(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(bytes(range(128, 256)) * 10)
    with pytest.raises(BadInput, match="not UTF-8"):
        read_pool(tmp_path / "d.jsonl", text="prompt")


def test_skipped_rows_are_set_aside_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "a"}\n[1]\n{"prompt": "b"}\n{"prompt": "c')
    pool = read_pool(tmp_path / "d.jsonl", text="prompt", on_bad_row="skip", rejects=tmp_path / "rejects.jsonl")
    assert len(pool) == 2
    aside = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [r["place"] for r in aside] == ["d.jsonl line 2", "d.jsonl line 4"]
    assert aside[1]["row"] == '{"prompt": "c'


def test_skipped_csv_and_parquet_rows_too(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("prompt,q\na,1\nb,2,3\nc,nan\nd,4\n")
    pool = read_pool(tmp_path / "d.csv", text="prompt", quality="q", on_bad_row="skip", rejects=tmp_path / "r.jsonl")
    assert pool.texts is not None and pool.texts.to_list() == ["a", "d"]
    assert [r["prompt"] for block in pool.records.blocks() for r in block] == ["a", "d"]
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.jsonl", "no such file"), ("d.xlsx", "don't know how to read")],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "d.xlsx").write_text("x")
    with pytest.raises(BadInput, match=message):
        read_pool(tmp_path / name, text="prompt")


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_text("not parquet")
    with pytest.raises(BadInput, match="can't be read as parquet"):
        read_pool(tmp_path / "d.parquet", text="prompt")


def test_ten_megabytes_in_one_text(tmp_path: Path) -> None:
    pool = read_pool(jsonl(tmp_path / "d.jsonl", [{"prompt": "word " * 2_000_000}]), text="prompt")
    assert pool.texts is not None and len(pool.texts[0]) == 10_000_000


def test_lone_surrogates_do_not_break_writing(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "a \\ud800 b"}\n')
    pool = read_pool(tmp_path / "d.jsonl", text="prompt")
    assert pool.texts is not None and pool.texts[0] == "a ? b"


def test_a_ragged_csv_row_is_named_or_set_aside_with_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.csv").write_text("prompt,q\na,1\nb,2,3\nc,3\n")
    with pytest.raises(BadInput, match=r"^d\.csv row 3: has 3 columns, the header has 2$"):
        read_pool(tmp_path / "d.csv", text="prompt")
    assert capsys.readouterr().err == ""
    assert len(read_pool(tmp_path / "d.csv", text="prompt", on_bad_row="skip", rejects=tmp_path / "r.jsonl")) == 2
    assert json.loads((tmp_path / "r.jsonl").read_text())["place"] == "d.csv row 3"
