"""CSV files of measurements: small, with a header, every row told by its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from polyculture.errors import BadInput


def read_csv(path: Path | str) -> tuple[list[str], list[tuple[int, Mapping[str, str]]]]:
    """A CSV file's header and its rows with their line numbers; empty lines are passed over.

    Raises:
        BadInput: it can't be read, has no header or two columns of one name, or a row has another number of fields.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    reader = csv.reader(io.StringIO(text))
    header = next(reader, None)
    if not header:
        raise BadInput(f"{path} is empty; its first line should name the columns")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise BadInput(f"{path}: column '{twice[0]}' is there twice; names should differ")
    rows: list[tuple[int, Mapping[str, str]]] = []
    for fields in reader:
        if not fields:
            continue
        if len(fields) != len(header):
            raise BadInput(f"{path} line {reader.line_num}: {len(fields)} fields, the header names {len(header)}")
        rows.append((reader.line_num, dict(zip(header, fields, strict=True))))
    return header, rows
