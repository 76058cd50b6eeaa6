"""Reading a pool: JSONL, JSON, CSV, Parquet, folders of them, and Hugging Face datasets, a block of rows at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from polyculture.errors import BadInput
from polyculture.files import atomic
from polyculture.pool import Pool, encode_groups
from polyculture.progress import Progress, silent
from polyculture.records import BLOCK_ROWS, ArrowRows, JsonLines, Texts
from polyculture.rows import Builder, Columns, check_columns, parse_row, with_text

JSONL = (".jsonl", ".ndjson")
CSV = (".csv", ".tsv")
PARQUET = (".parquet", ".pq")
COMPRESSED = (".gz", ".bz2", ".zst")

OnBadRow = Literal["error", "skip"]


class Rejects:
    """Bad rows: the first one is an error, or each is set aside with its place, its reason and what it was.

    Args:
        on_bad_row: "error" or "skip".
        path: where skipped rows go, as JSON lines; needed for "skip".
    """

    def __init__(self, on_bad_row: OnBadRow, path: Path | None) -> None:
        if on_bad_row not in ("error", "skip"):
            raise BadInput(f"on_bad_row should be 'error' or 'skip', not '{on_bad_row}'")
        if on_bad_row == "skip" and path is None:
            raise BadInput("skipping bad rows needs a rejects file to set them aside in")
        self.skip = on_bad_row == "skip"
        self.path = path
        self.rows: list[dict[str, str]] = []

    def add(self, place: str, reason: str, raw: str) -> None:
        """Set one row aside, or raise BadInput naming its place."""
        if not self.skip:
            raise BadInput(f"{place}: {reason}")
        self.rows.append({"place": place, "reason": reason, "row": raw})

    def write(self) -> None:
        """Write what was set aside, if anything was."""
        if self.rows and self.path is not None:
            with atomic(self.path) as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)


def read_pool(
    source: str | Path | Sequence[dict[str, Any]],
    *,
    text: str | Sequence[str] | None = None,
    quality: str | None = None,
    groups: str | None = None,
    vectors: str | None = None,
    need_text: bool = True,
    on_bad_row: OnBadRow = "error",
    rejects: Path | None = None,
    split: str = "train",
    progress: Progress = silent,
) -> Pool:
    """Read a pool from a file, a folder of files, a Hugging Face dataset id, or a list of records.

    Args:
        source: a path (.jsonl, .csv, .tsv, each also .gz, .bz2 or .zst; .json; .parquet; a folder of them; a folder
            saved by ``save_to_disk``, of a Dataset or a DatasetDict), a hub id such as ``owner/name``, or records.
        text: the text column, or several to be joined; chat columns are understood. None takes the first of messages,
            conversations, text, prompt, instruction, question, content.
        quality: a column of numbers, higher is better.
        groups: a column of labels.
        vectors: a column of vectors, used as embeddings.
        need_text: False reads rows of any columns; then no text column is looked for.
        on_bad_row: "error" stops at the first bad row; "skip" sets bad rows aside in ``rejects``.
        rejects: the file for bad rows.
        split: the split of a hub dataset or a DatasetDict.
        progress: told how many bytes or rows are read.

    Returns:
        A pool whose records are exactly what was read.

    Raises:
        BadInput: the source is not there, is empty, or has a bad row; the message names the place and the remedy.
    """
    names = (text,) if isinstance(text, str) else tuple(text or ())
    text_columns = tuple(c.strip() for name in names for c in name.split(","))
    columns = Columns(text_columns, quality, groups, vectors, need_text)
    aside = Rejects(on_bad_row, rejects)
    if not isinstance(source, (str, Path)):
        lines = (json.dumps(record, ensure_ascii=False) for record in source)
        pool = _pool_of_lines(((f"record {i}", line) for i, line in enumerate(lines, 1)), columns, aside, "records")
    else:
        path = Path(source)
        if path.is_dir():
            pool = _read_folder(path, split, columns, aside, progress)
        elif path.exists():
            pool = _read_file(path, columns, aside, progress)
        else:
            pool = _read_hub(str(source), split, columns, aside)
    aside.write()
    if len(pool) == 0:
        set_aside = f"; all {len(aside.rows)} rows were bad, see {aside.path}" if aside.rows else ""
        raise BadInput(f"{source if isinstance(source, (str, Path)) else 'records'}: there are no rows{set_aside}")
    return pool


def read_table(path: Path) -> pa.Table:
    """Read a CSV, TSV or Parquet file whole, every column as it is.

    Raises:
        BadInput: the file is not there, has another ending, has a bad row, or has no rows.
    """
    if not path.exists():
        raise BadInput(f"{path}: there is no such file")
    suffix = _suffix(path)
    try:
        if suffix in CSV:
            table = _read_csv(path, Rejects("error", None))
        elif suffix in PARQUET:
            import pyarrow.parquet as pq

            table = pq.read_table(path, memory_map=True)
        else:
            raise BadInput(f"{path}: a table should be one of {' '.join((*CSV, *PARQUET))}")
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: can't be read as {suffix.lstrip('.')}: {str(error).splitlines()[0]}") from error
    if table.num_rows == 0:
        raise BadInput(f"{path}: there are no rows")
    return table


def _suffix(path: Path) -> str:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _read_file(path: Path, columns: Columns, aside: Rejects, progress: Progress) -> Pool:
    suffix = _suffix(path)
    try:
        if suffix in JSONL:
            return _pool_of_lines(_file_lines(path, progress), columns, aside, path.name)
        if suffix == ".json":
            return _read_json(path, columns, aside, progress)
        if suffix in CSV:
            return _pool_of_table(_read_csv(path, aside), columns, aside, path.name, first_row=2)
        if suffix in PARQUET:
            import pyarrow.parquet as pq

            return _pool_of_table(pq.read_table(path, memory_map=True), columns, aside, path.name)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: can't be read as {suffix.lstrip('.')}: {str(error).splitlines()[0]}") from error
    known = " ".join((*JSONL, ".json", *CSV, *PARQUET))
    raise BadInput(f"{path}: don't know how to read '{suffix or path.name}'; known endings are {known}")


def _file_lines(path: Path, progress: Progress) -> Iterator[tuple[str, bytes]]:
    """Each line that is not blank, with its place."""
    size = path.stat().st_size
    compression = "detect" if path.suffix.lower() in COMPRESSED else None
    with io.BufferedReader(pa.input_stream(str(path), compression=compression), buffer_size=1 << 20) as file:
        done = 0
        for number, line in enumerate(file, 1):
            done += len(line)
            if number % BLOCK_ROWS == 0:
                progress(f"reading {path.name}", min(done, size), size)
            if line.strip():
                yield f"{path.name} line {number}", line
        progress(f"reading {path.name}", size, size)


def _pool_of_lines(
    lines: Iterator[tuple[str, bytes]] | Iterator[tuple[str, str]], columns: Columns, aside: Rejects, source: str
) -> Pool:
    builder: Builder | None = None
    raw_blocks, block = [], []
    for place, line in lines:
        held = line if isinstance(line, str) else line.decode("utf-8", "replace").rstrip("\r\n")
        try:
            if not isinstance(line, str):
                held = line.decode("utf-8").rstrip("\r\n").removeprefix("\ufeff")
            record = json.loads(held)
            builder = builder or Builder(with_text(columns, record))
            builder.add(parse_row(record, builder.columns))
        except UnicodeDecodeError:
            aside.add(place, "is not UTF-8 text; is this a binary file, or another encoding?", held)
            continue
        except json.JSONDecodeError as error:
            reason = f"is not valid JSON ({error.msg} at column {error.colno}); is the line cut short?"
            aside.add(place, reason, held)
            continue
        except BadInput as error:
            aside.add(place, str(error), held)
            continue
        block.append(held)
        if len(block) == BLOCK_ROWS:
            raw_blocks.append(pa.array(block, type=pa.large_string()))
            block = []
    raw = pa.chunked_array([*raw_blocks, pa.array(block, type=pa.large_string())])
    return _finish(JsonLines(raw), builder or Builder(columns), source)


def _pool_of_table(table: pa.Table, columns: Columns, aside: Rejects, source: str, first_row: int = 1) -> Pool:
    header = dict.fromkeys(table.column_names)
    try:
        columns = with_text(columns, header)
        check_columns(header, columns)
    except BadInput as error:
        raise BadInput(f"{source}: {error}") from error
    builder = Builder(columns)
    kept: list[int] = []
    row = 0
    for batch in table.select(list(columns.names)).to_batches(max_chunksize=BLOCK_ROWS):
        for record in batch.to_pylist():
            try:
                builder.add(parse_row(record, columns))
                kept.append(row)
            except BadInput as error:
                raw = json.dumps(table.slice(row, 1).to_pylist()[0], default=str, ensure_ascii=False)
                aside.add(f"{source} row {row + first_row}", str(error), raw)
            row += 1
    if len(kept) < table.num_rows:
        table = table.take(pa.array(kept, type=pa.int64()))
    return _finish(ArrowRows(table), builder, source)


def _finish(records: JsonLines | ArrowRows, builder: Builder, source: str) -> Pool:
    texts = builder.texts()
    codes, names = builder.groups()
    vectors = builder.vectors()
    return Pool(
        records=records,
        texts=None if texts is None else Texts(texts),
        embeddings=vectors,
        quality=builder.quality(),
        groups=codes,
        group_names=names,
        source=source,
        embedder=None if vectors is None else f"column:{builder.columns.vectors}",
    )


def _read_json(path: Path, columns: Columns, aside: Rejects, progress: Progress) -> Pool:
    """A list of objects (streamed), an object that holds one such list, or JSON lines under another name."""
    import ijson

    with path.open("rb") as file:
        head = file.read(4096).lstrip()[:1]
        file.seek(0)
        if head == b"[":
            try:
                items = ijson.items(file, "item", use_float=True)
                lines = ((f"{path.name} item {i}", json.dumps(x, ensure_ascii=False)) for i, x in enumerate(items, 1))
                return _pool_of_lines(lines, columns, aside, path.name)
            except (ijson.JSONError, UnicodeDecodeError) as error:
                raise BadInput(f"{path}: is not valid JSON ({error}); is the file cut short?") from error
        try:
            held = json.load(file)
        except UnicodeDecodeError:
            raise BadInput(f"{path}: is not UTF-8 text; is this a binary file, or another encoding?") from None
        except json.JSONDecodeError as error:
            if error.msg == "Extra data":
                return _pool_of_lines(_file_lines(path, progress), columns, aside, path.name)
            raise BadInput(f"{path}: is not valid JSON ({error}); is the file cut short?") from error
    lists = [k for k, v in held.items() if isinstance(v, list)] if isinstance(held, dict) else []
    if len(lists) != 1:
        found = f"lists under {', '.join(lists)}" if lists else "no list"
        raise BadInput(f"{path}: should hold one list of records; it has {found}")
    lines = ((f"{path.name} item {i}", json.dumps(x, ensure_ascii=False)) for i, x in enumerate(held[lists[0]], 1))
    return _pool_of_lines(lines, columns, aside, path.name)


def _read_csv(path: Path, aside: Rejects) -> pa.Table:
    """A CSV or TSV file; the delimiter is read off the header line."""
    from pyarrow import csv as pacsv

    with io.TextIOWrapper(pa.input_stream(str(path), compression="detect"), "utf-8", "replace") as file:
        header = file.readline()
    if not header.strip():
        raise BadInput(f"{path}: there are no rows")
    try:
        delimiter = csv.Sniffer().sniff(header, delimiters=",;\t|").delimiter
    except csv.Error:
        delimiter = ","

    bad: list[tuple[int, str, str]] = []

    def set_aside(row: Any) -> str:
        # Arrow swallows what is raised here: rows are judged once it is done.
        bad.append((row.number, f"has {row.actual_columns} columns, the header has {row.expected_columns}", row.text))
        return "skip"

    parsing = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=set_aside)
    # A row must fit in a block: 64 MB lets a cell hold a long document. Only one thread knows the rows' numbers.
    reading = pacsv.ReadOptions(block_size=1 << 26, use_threads=False)
    table = pacsv.read_csv(path, read_options=reading, parse_options=parsing)
    for number, reason, text in bad:
        aside.add(f"{path.name} row {number}", reason, text)
    return table


def _read_folder(path: Path, split: str, columns: Columns, aside: Rejects, progress: Progress) -> Pool:
    if (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        if split not in splits:
            raise BadInput(f"{path}: its splits are {', '.join(splits)}, not '{split}'; choose one with --split")
        return _read_folder(path / split, split, columns, aside, progress)
    if (path / "dataset_info.json").exists() and (path / "state.json").exists():
        import datasets

        return _pool_of_table(_dataset_table(datasets.load_from_disk(str(path))), columns, aside, path.name)
    files = sorted(p for p in path.rglob("*") if p.is_file() and _suffix(p) in (*JSONL, ".json", *CSV, *PARQUET))
    if not files:
        raise BadInput(f"{path}: holds no .jsonl, .json, .csv, .tsv or .parquet file")
    pools = [_read_file(file, columns, aside, progress) for file in files]
    return concatenate([pool for pool in pools if len(pool)] or pools[:1], source=path.name)


def concatenate(pools: Sequence[Pool], source: str) -> Pool:
    """Several pools as one, rows in order; records of different kinds become JSON lines."""
    if len(pools) == 1:
        return pools[0].with_(source=source)
    records: JsonLines | ArrowRows
    if all(isinstance(pool.records, ArrowRows) for pool in pools):
        tables = [pool.records.table for pool in pools if isinstance(pool.records, ArrowRows)]
        records = ArrowRows(pa.concat_tables(tables, promote_options="permissive"))
    else:
        lines = [pa.array(list(pool.records.lines()), type=pa.large_string()) for pool in pools]
        records = JsonLines(pa.chunked_array(lines))
    texts = [chunk for pool in pools if pool.texts is not None for chunk in pool.texts.array.chunks]
    labels = [pool.group_names[code] for pool in pools if pool.groups is not None for code in pool.groups]
    codes, names = encode_groups(labels) if labels else (None, ())
    return Pool(
        records=records,
        texts=Texts(pa.chunked_array(texts, type=pa.large_string())) if pools[0].texts is not None else None,
        embeddings=_stacked([pool.embeddings for pool in pools], source),
        quality=None if pools[0].quality is None else np.concatenate([pool.q for pool in pools]),
        groups=codes,
        group_names=names,
        source=source,
        embedder=pools[0].embedder,
    )


def _stacked(vectors: Sequence[np.ndarray | None], source: str) -> np.ndarray | None:
    held = [v for v in vectors if v is not None]
    if not held:
        return None
    if len({v.shape[1] for v in held}) > 1:
        raise BadInput(f"{source}: vectors have different lengths in different files")
    return np.concatenate(held)


def _read_hub(name: str, split: str, columns: Columns, aside: Rejects) -> Pool:
    if "/" not in name or name.startswith((".", "/", "~")) or Path(name).suffix in (*JSONL, ".json", *CSV, *PARQUET):
        raise BadInput(f"{name}: there is no such file or folder")
    import datasets

    try:
        dataset = datasets.load_dataset(name, split=split)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{name}: no such file, and it could not be had from the hub: {reason}") from error
    return _pool_of_table(_dataset_table(dataset), columns, aside, name)


def _dataset_table(dataset: Any) -> pa.Table:
    if isinstance(dataset, dict):
        raise BadInput(f"the dataset has splits {', '.join(dataset)}; name one of them")
    return dataset.with_format("arrow")[:] if dataset._indices is not None else dataset.data.table
