"""CSV files as they come: any of a few delimiters and encodings, and every line of the file accounted for.

Records are read by Python's own reader in its strict mode. What cannot be read is named by its line.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.config.errors import EvergreenError

DELIMITERS = ",;\t|"
HEAD_LINES = 200  # that the delimiter is found out from
LONGEST_VALUE = 2**24  # characters: a longer one is a quote that was never closed
FALLBACK = "cp1252"  # what Windows writes where it does not write UTF-8
MARK = "\udfff"  # stands for bytes that are no text in the file's encoding; no decoded text holds it
BYTE_ORDER_MARK = "\ufeff"  # a second one, or one in an encoding that was named
FEW = 5  # sentences of a kind
NOTHING = "Nothing was loaded."


@dataclass(frozen=True)
class Layout:
    """How a file is written. skipped: lines above the header; header_lines: physical ones, as a name may hold a line end."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    skipped: int
    header_lines: int

    @property
    def header_line(self) -> int:
        return self.skipped + 1


@dataclass
class Account:
    """Where the lines of a file went."""

    lines: int = 0
    rows: int = 0
    within: int = 0  # lines that are a part of a value
    blank: int = 0
    swallowed: list[tuple[int, str, int]] = field(default_factory=list)  # line, column, lines that look like rows
    repeated: list[int] = field(default_factory=list)  # lines that are the header once more


def layout(file: Path, encoding: str | None = None, delimiter: str | None = None) -> Layout:
    """Encoding, delimiter and header of a file; what is given is taken as it is.

    Raises:
        EvergreenError: it is empty, holds JSON, has no names of columns, or no encoding fits it.
    """
    encoding = _known(encoding) if encoding else _encoding(file)
    head = list(islice(lines(file, encoding), HEAD_LINES))
    if not "".join(head).strip():
        raise EvergreenError(f"{file} is empty: nothing was loaded.")
    at = next(number for number, line in enumerate(head) if line.strip())
    if said := re.fullmatch(r'"?sep=(.)"?', head[at].strip("\r\n"), re.IGNORECASE):
        delimiter, at = delimiter or said[1], at + 1
    elif head[at].lstrip()[0] in "{[" and _is_json(head[at]):
        raise EvergreenError(f"{file} holds JSON, and no table: write its records as CSV or Parquet. {NOTHING}")
    at = _after_comments(head, at)
    with _long_values():
        delimiter = _sign(delimiter) if delimiter else _delimiter(head[at:])
        reader = csv.reader(head[at:], delimiter=delimiter, strict=True)
        try:
            header = tuple(next((row for row in reader if row), []))
        except csv.Error as error:
            raise EvergreenError(_broken(file, head[at:], at + 1, delimiter, error)) from None
    if not header:
        raise EvergreenError(f"{file} has no header: only comments and blank lines in its first {len(head)} lines. {NOTHING}")
    if any(map(_is_number, header)) and all(_is_number(name) or not name.strip() for name in header):
        raise EvergreenError(
            f"{file}: the header, line {at + 1}, is all numbers. Is it the first row? Put a line with the columns' names "
            f"above it. {NOTHING}"
        )
    return Layout(encoding, delimiter, header, at, reader.line_num)


def records(file: Path, found: Layout, account: Account) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, each with the line it begins in; `account` is kept as they go by.

    Raises:
        EvergreenError: a quote is not closed, a row has another number of values than the header, or bytes are no text; the
            line is named.
    """
    taken: list[str] = []  # the lines of the record that is read

    def counted() -> Iterator[str]:
        for line in lines(file, found.encoding):
            account.lines += 1
            if account.lines > found.skipped + found.header_lines:
                taken.append(line)
                yield line

    with _long_values():
        reader = csv.reader(counted(), delimiter=found.delimiter, strict=True)
        while True:
            taken.clear()
            try:
                row = next(reader, None)
            except csv.Error as error:
                first = account.lines - len(taken) + 1
                raise EvergreenError(_broken(file, taken, first, found.delimiter, error)) from None
            if row is None:
                return
            if not row:
                account.blank += 1
                continue
            first = account.lines - len(taken) + 1
            if len(row) != len(found.header):
                raise EvergreenError(_ragged(file, found, len(row), first))
            account.rows += 1
            if row[-1] == found.header[-1] and (row[0].lstrip(BYTE_ORDER_MARK), *row[1:]) == found.header:
                account.repeated.append(first)
            if len(taken) > 1:
                account.within += len(taken) - 1
                account.swallowed += _swallowed(row, found, first)
            yield first, row


@contextmanager
def _long_values() -> Iterator[None]:
    """Python's reader takes values of up to LONGEST_VALUE."""
    limit = csv.field_size_limit(LONGEST_VALUE)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def lines(file: Path, encoding: str) -> Iterator[str]:
    """The lines of a file, with their ends.

    Raises:
        EvergreenError: bytes that are no text in this encoding; the line is named.
    """
    codecs.register_error("evergreen.mark", lambda error: (MARK, error.end))  # type: ignore[attr-defined]
    with opened(file) as raw:
        decoding = "utf-8-sig" if encoding == "utf-8" else encoding
        text = io.TextIOWrapper(raw, encoding=decoding, errors="evergreen.mark", newline="")
        try:
            for number, line in enumerate(text, start=1):
                if number == 1:
                    line = line.lstrip(BYTE_ORDER_MARK)
                if MARK in line:
                    raise EvergreenError(
                        f"{file}, line {number}: bytes that are no {encoding}. Repair that line, or name the file's encoding "
                        f"by --encoding. {NOTHING}"
                    )
                if "\0" in line:
                    raise EvergreenError(
                        f"{file}, line {number}: a NUL character, so this is no text file, or its encoding is another, such "
                        f"as --encoding utf-16-le. {NOTHING}"
                    )
                yield line
        except UnicodeError:
            raise EvergreenError(f"{file} is no {encoding}: name its encoding by --encoding. {NOTHING}") from None


def opened(file: Path) -> Any:
    """The bytes of a file, decompressed."""
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(file, compression="detect"))


def explained(account: Account, found: Layout) -> str:
    """One sentence about where the lines of the file went."""
    parts = [f"{found.skipped:,} above the header"] if found.skipped else []
    parts += [f"{found.header_lines:,} of the header", f"{account.rows:,} rows"]
    parts += [f"{account.within:,} within values"] if account.within else []
    parts += [f"{account.blank:,} blank"] if account.blank else []
    return f"{account.lines:,} lines: {', '.join(parts)}."


def doubts(account: Account, found: Layout) -> Iterator[str]:
    """What a person should look at: a header that may be none, and values that hold lines which look like rows."""
    if re.match(r"#\s*\w", found.header[0]):
        yield f"Line {found.header_line} begins with # and was read as the header. If it is a comment, delete it first."
    if values := [name for name in found.header if _is_number(name) or _is_date(name)]:
        yield (
            f"The header, line {found.header_line}, holds {', '.join(map(repr, values[:FEW]))}. If it is the first row, put a "
            "line with the columns' names above it and load again."
        )
    if account.repeated:
        yield (
            f"{len(account.repeated):,} rows are the header once more, the first in line {account.repeated[0]:,}. If the file "
            "is several in one, delete those lines and load again."
        )
    for line, name, count in account.swallowed[:FEW]:
        yield (
            f"Line {line:,}: the value of {name!r} runs over lines, {count:,} of which look like rows of their own. "
            "Is a quote open there?"
        )
    if account.swallowed[FEW:]:
        yield f"... and {len(account.swallowed) - FEW:,} more such values."


def check_account(file: Path, account: Account, found: Layout) -> None:
    """Every line of the file is a row, a part of one, blank, or above the rows.

    Raises:
        EvergreenError: some are not accounted for.
    """
    explained = found.skipped + found.header_lines + account.rows + account.within + account.blank
    if explained != account.lines:
        raise EvergreenError(f"{file} has {account.lines:,} lines, and {explained:,} are accounted for. {NOTHING}")


def _broken(file: Path, taken: Sequence[str], first: int, delimiter: str, error: csv.Error) -> str:
    """Where the quote opens that is to blame: its record may begin lines before."""
    text, at = "".join(taken), 0
    whole = re.compile(r'"(?:[^"]|"")*"(?!")')
    end = re.compile(rf"{re.escape(delimiter)}|\r\n|\r|\n")
    while at < len(text):
        begins = at
        if text[at] == '"':
            closed = whole.match(text, at)
            if not closed or not (end.match(text, closed.end()) or closed.end() == len(text)):
                line = first + len(re.findall(r"\r\n|\r|\n", text[:begins]))
                why = "is never closed" if not closed else "is closed in the middle of its value"
                return (
                    f"{file}, line {line}: a quote opens there that {why}. Close it, or double a quote that belongs to the "
                    f"value. {NOTHING}"
                )
            at = closed.end()
        following = end.search(text, at)
        if not following:
            break
        at = following.end()
    return f"{file}, line {first}: {error}. {NOTHING}"


def _ragged(file: Path, found: Layout, values: int, line: int) -> str:
    expected = len(found.header)
    hint = "" if expected > 1 else " Is there text above the header, or another delimiter (--delimiter)?"
    counted = f"{values} {'value' if values == 1 else 'values'}"
    return f"{file}, line {line}: {counted}, where the header in line {found.header_line} has {expected}.{hint} {NOTHING}"


def _swallowed(row: Sequence[str], found: Layout, line: int) -> Iterator[tuple[int, str, int]]:
    """Values that hold lines with as many values as a row has: a quote may be open there."""
    width = len(found.header)
    for name, value in zip(found.header, row, strict=True):
        inner = value.splitlines()[1:]
        alike = [one for one in inner if width > 1 and one.count(found.delimiter) == width - 1]
        if alike:
            yield line, name, len(alike)


def _after_comments(head: Sequence[str], at: int) -> int:
    """The line of the header below blank lines and lines that begin with #, unless the last of these is the header."""
    start = at
    while at < len(head) and (head[at].startswith("#") or not head[at].strip()):
        at += 1
    if at == start or at == len(head):
        return start
    last = next(number for number in range(at - 1, start - 1, -1) if head[number].strip())
    below = max(DELIMITERS, key=head[at].count)
    return last if head[at].count(below) and head[last].count(below) == head[at].count(below) else at


def _delimiter(head: Sequence[str]) -> str:
    """The one that parts all of the first records into equally many values, and the most; else the header's most frequent."""

    def fit(sign: str) -> tuple[bool, int, int]:
        try:
            rows = [row for row in csv.reader(head, delimiter=sign) if row]
        except csv.Error:  # too long a value: whoever reads the rows will name its line
            return False, 0, -DELIMITERS.index(sign)
        widths = {len(row) for row in (rows[:-1] if len(head) == HEAD_LINES else rows)}
        return len(widths) == 1 and widths != {1}, len(rows[0]), -DELIMITERS.index(sign)

    return max(DELIMITERS, key=fit)


def _sign(delimiter: str) -> str:
    sign = {"tab": "\t", r"\t": "\t"}.get(delimiter.lower(), delimiter)
    if len(sign) != 1 or sign in '"\r\n':
        raise EvergreenError(f"--delimiter {delimiter!r}: one character is needed, or tab.")
    return sign


def _known(encoding: str) -> str:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses base64 and the like, which codecs knows too
        return codecs.lookup(encoding).name
    except LookupError:
        raise EvergreenError(
            f"--encoding {encoding!r} is not known: write a name such as utf-8, cp1252, latin-1, shift_jis or gb18030."
        ) from None


def _encoding(file: Path) -> str:
    """UTF-8 or UTF-16 by their own marks, else Windows' Western one where it can be.

    Raises:
        EvergreenError: it is UTF-8 with broken lines, which are named, or neither.
    """
    with opened(file) as raw:
        if raw.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        texts, broken, foreign = 0, [], bytearray()
        for number, line in enumerate(raw, start=1):
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                texts += 1
            except UnicodeDecodeError:
                broken.append(number)
                if len(foreign) < 2**20:
                    foreign += line
    if not broken:
        return "utf-8"
    if texts >= len(broken):
        raise EvergreenError(
            f"{file}, line {broken[0]}: bytes that are no UTF-8, as {texts:,} other lines with letters beyond ASCII are"
            f"{f', and {len(broken) - 1:,} more such lines' if broken[1:] else ''}. Repair them. {NOTHING}"
        )
    if _is_western(bytes(foreign)):
        return FALLBACK
    raise EvergreenError(
        f"{file}, line {broken[0]}: neither UTF-8 nor Windows-1252. Name the file's encoding by --encoding, such as shift_jis, "
        f"gb18030, cp1251 or latin-1. {NOTHING}"
    )


def _is_western(text: bytes) -> bool:
    """Whether bytes that are no UTF-8 can be Windows-1252: its letters stand among ASCII ones, and its rare signs are rare."""
    try:
        text.decode(FALLBACK)
    except UnicodeDecodeError:
        return False
    high = len(re.findall(rb"[\x80-\xff]", text))
    in_runs = sum(map(len, re.findall(rb"[\x80-\xff]{3,}", text)))
    rare = len(re.findall(rb"[\x82-\x84\x86-\x8f\x98\x9a-\x9f]", text))
    return in_runs <= high / 2 and rare <= high / 5


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return line.strip() in "{["
    return True


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[0-9]+([.,][0-9]+)?\s*", text) is not None


def _is_date(text: str) -> bool:
    return re.fullmatch(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}.*", text) is not None
