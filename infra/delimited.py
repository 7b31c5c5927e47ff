"""CSV files as they come: any of a few delimiters and encodings, odd headers, and types that every value agrees with.

A file is read twice in bounded memory: once for the types, once for the rows.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = ",;\t|"
BLOCK_BYTES = 8 * 2**20
HEAD_BYTES = 2**20  # more than any header
FALLBACK = "cp1252"  # what Windows writes where it does not write UTF-8
DIGITS = r"(0|[1-9][0-9]{0,17})"  # leading zeros and longer ones are codes, and would not survive as a number
DECIMAL = r"(0|[1-9][0-9]{0,14})"
DAY, CLOCK = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
COMMA = "double precision with a decimal comma"
# Postgres types, the narrowest first, and what every value of such a column looks like
PATTERNS = {
    "bigint": rf"[+-]?{DIGITS}",
    "double precision": rf"[+-]?({DECIMAL}([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{{1,2}})?",
    COMMA: rf"[+-]?({DECIMAL}|[1-9][0-9]{{0,2}}([.][0-9]{{3}})+)(,[0-9]+)?",
    "boolean": "true|false|True|False|TRUE|FALSE",
    "date": DAY,
    "timestamp": rf"{DAY}([ T]{CLOCK})?",
    "timestamptz": rf"{DAY}[ T]{CLOCK}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})",
}


@dataclass(frozen=True)
class Layout:
    """How a file is written. header_lines: physical ones, as a name may hold a line break."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    header_lines: int


def layout(file: Path) -> Layout:
    """Encoding, delimiter and header of a file.

    Raises:
        EvergreenError: it is empty.
    """
    encoding = _encoding(file)
    with _opened(file) as raw:
        text = codecs.getincrementaldecoder(encoding)().decode(raw.read(HEAD_BYTES))
    if not text.strip():
        raise EvergreenError(f"{file} is empty: nothing was loaded.")
    text = text.lstrip("\ufeff")
    outside = Counter(re.sub(r'"(?:[^"]|"")*"', "", text.lstrip("\r\n")).splitlines()[0])
    delimiter = max(DELIMITERS, key=lambda sign: (outside[sign], -DELIMITERS.index(sign)))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = next((row for row in lines if row), [])
    return Layout(encoding, delimiter, tuple(header), lines.line_num)


def types(file: Path, found: Layout) -> tuple[int, list[str]]:
    """How many rows there are, and the Postgres type of each column: the narrowest that fits every value, else text.

    Raises:
        EvergreenError: a row has another number of values than the header.
    """
    possible = [dict.fromkeys(PATTERNS) for _ in found.header]
    seen, rows = [False] * len(found.header), 0
    if found.delimiter != ";":  # elsewhere a comma in a number parts thousands, or nobody knows what
        for column in possible:
            del column[COMMA]
    for batch in strings(file, found):
        rows += batch.num_rows
        for at, cells in enumerate(batch.columns):
            cells = without_null(cells).drop_null()
            seen[at] |= len(cells) > 0
            possible[at] = {kind: None for kind in possible[at] if _all_fit(cells, kind)}
    return rows, [next(iter(column), "text") if any_value else "text" for column, any_value in zip(possible, seen, strict=True)]


def strings(file: Path, found: Layout) -> Iterator[pa.RecordBatch]:
    """The rows, every value as text, in batches; columns are called c0, c1, ..."""
    import pyarrow as pa
    import pyarrow.csv

    names = [f"c{number}" for number in range(len(found.header))]
    try:
        with pa.csv.open_csv(
            file,
            pa.csv.ReadOptions(
                block_size=BLOCK_BYTES, column_names=names, skip_rows=found.header_lines, encoding=found.encoding
            ),
            pa.csv.ParseOptions(delimiter=found.delimiter, newlines_in_values=True),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        ) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        said = re.search(r"(Row #[0-9]+: )?Expected [0-9]+ columns, got [0-9]+", str(error))  # and not the row, which follows
        reason = said[0] if said else "its quotes or line ends are broken"
        raise EvergreenError(f"{file} is neither CSV nor Parquet that can be read: {reason}. Nothing was loaded.") from None


def typed(cells: pa.Array, kind: str) -> pa.Array:
    """Values as Postgres reads them for a type: of no text, what stands for nothing is NULL."""
    import pyarrow.compute as pc

    if kind == "text":
        return cells
    cells = without_null(cells)
    if kind == COMMA:
        return pc.replace_substring(pc.replace_substring(cells, ".", ""), ",", ".")
    return cells


def without_null(cells: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    nothing = pc.is_in(cells, pa.array(pa.csv.ConvertOptions().null_values))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), cells)


def postgres_type(kind: str) -> str:
    return "double precision" if kind == COMMA else kind


def _all_fit(cells: pa.Array, kind: str) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.all(pc.match_substring_regex(cells, rf"^ *({PATTERNS[kind]}) *$"), min_count=0).as_py():
        return False
    moments: dict[str, Any] = {"date": pa.date32(), "timestamp": pa.timestamp("s"), "timestamptz": pa.timestamp("s", "UTC")}
    if kind in moments:
        try:
            pc.replace_substring_regex(pc.utf8_trim(cells, " "), "[.][0-9]+", "").cast(moments[kind])
        except pa.ArrowInvalid:  # no such day
            return False
    return True


def _encoding(file: Path) -> str:
    with _opened(file) as raw:
        head = raw.read(4)
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while head:
                decoder.decode(head)
                head = raw.read(HEAD_BYTES)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return FALLBACK
    return "utf-8"


def _opened(file: Path) -> Any:
    import pyarrow as pa

    try:
        return pa.input_stream(file, compression="detect")
    except FileNotFoundError:
        raise EvergreenError(f"{file} is missing.") from None
