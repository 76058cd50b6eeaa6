from __future__ import annotations

from pathlib import Path

import pytest

from polyculture.errors import BadInput
from polyculture.tables import read_csv


def test_rows_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(b'\xef\xbb\xbfname,loss\r\n"two\nlines",1\r\n\r\nlast,2')
    header, rows = read_csv(path)
    assert header == ["name", "loss"]
    assert rows == [(3, {"name": "two\nlines", "loss": "1"}), (5, {"name": "last", "loss": "2"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; its first line should name the columns"),
        (b"a,b,a\n1,2,3\n", "column 'a' is there twice"),
        (b"a,b\n1,2\n3\n", "line 3: 1 fields, the header names 2"),
        (b"a\n\xff\n", "can't read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_csv(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_csv(tmp_path / "nowhere.csv")
