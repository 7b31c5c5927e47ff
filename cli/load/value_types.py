"""The Postgres type of each column of a text file: what is stored prints back as it was read, or the column stays text.

A number prints back where one way of writing fits all of the column's values: the shortest (0.5 and 2), Python's (0.5 and 2.0),
or as many decimals in each (0.50 and 2.00). 1.10 beside 1.1, a leading zero, a plus sign and 1e5 fit none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = "(0|[1-9][0-9]*)"
BIGINT = "0|-?[1-9][0-9]{0,17}"
SCIENTIFIC = "(-(0[5-9]|[1-9][0-9]{1,2})|[+](1[6-9]|[2-9][0-9]|[0-9]{3}))"  # exponents that Python writes
STYLES = {  # of numbers, by one of which all values of a column are written
    "shortest": rf"-?{WHOLE}([.][0-9]*[1-9])?",
    "python": rf"-?{WHOLE}[.](0|[0-9]*[1-9])|-?[1-9]([.][0-9]*[1-9])?e{SCIENTIFIC}",
    "fixed": rf"-?{WHOLE}[.][0-9]+",
    "exponents": rf"-?{WHOLE}([.][0-9]*[1-9])?|-?{WHOLE}([.][0-9]+)?[eE][+-][0-9]{{1,3}}",  # with a sign, as no code has one
}
POINT = rf"[+-]?({WHOLE}([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{{1,3}})?"
COMMA = r"-?((0|[1-9][0-9]*)|[1-9][0-9]{0,2}([.][0-9]{3})+)(,[0-9]+)?"
LOOSE = r"[+-]?[0-9]*[.,]?[0-9]+([eE][+-]?[0-9]{1,3})?"  # what a person takes for a number
# a value that shows which sign parts its decimals: the other sign could not part thousands like that
SHOWS_POINT = r"[.]([0-9]{1,2}|[0-9]{4,})$|^-?(0|[0-9]{4,})[.]"
SHOWS_COMMA = r",([0-9]{1,2}|[0-9]{4,})$|^-?(0|[0-9]{4,}),|[.].*,"
EXACT_DIGITS = 15  # of a number, which a double keeps whatever they are
LARGE_EXPONENT = "[eE][+-]?[0-9]{3}"  # of a number that may be beyond a double's range
DAY, CLOCK = r"([1-9][0-9]|0[1-9])[0-9]{2}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
TIMES = {
    "date": DAY,
    "timestamp": rf"{DAY}([ T]{CLOCK})?",
    "timestamptz": rf"{DAY}[ T]{CLOCK}(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)",  # Postgres takes less than 16 hours
}
NO_OFFSET = r"(Z|[+-]00(:?00)?)$"
OTHER_DATE = r"[0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})( .*)?"
ZERO_DATE = r"0000-00-00([ T]00:00(:00([.]0+)?)?)?"
BOOLEAN = "true|false|True|False|TRUE|FALSE"
SQL_NULL = r"\N"
NAN = ("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN")
NULLS = (SQL_NULL, "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "NULL", "null", *NAN)
FORCED = {  # --types: what each value must look like
    "text": ".*",
    "bigint": r"[+-]?[0-9]{1,19}",
    "integer": r"[+-]?[0-9]{1,10}",
    "smallint": r"[+-]?[0-9]{1,5}",
    "numeric": POINT.replace(WHOLE, "([0-9]+)"),
    "double precision": POINT.replace(WHOLE, "([0-9]+)"),
    "real": POINT.replace(WHOLE, "([0-9]+)"),
    "boolean": f"(?i){BOOLEAN}|t|f|yes|no|y|n|1|0",
    **TIMES,
}
WHOLE_BITS = {"smallint": 15, "integer": 31, "bigint": 63}
ENDS = {"double precision": (5e-324, 1.7976931348623157e308), "real": (1.4e-45, 3.4028235e38)}  # but for 0
DECIMALS = ("numeric", "double precision", "real")
SHOWN = 10  # sentences of a kind; the rest is a count


@dataclass
class Numbers:
    """What the numbers of a column, written with one sign for decimals, have in common so far."""

    sign: str
    fits: bool = True
    signs: bool = False  # a value holds the sign, or one that would part thousands
    shown: bool = False  # a value shows that it parts decimals
    exact: bool = True
    styles: set[str] = field(default_factory=lambda: set(STYLES))
    decimals: set[int] = field(default_factory=set)

    def add(self, cells: pa.Array) -> None:
        if not self.fits:
            return
        point = to_point(cells) if self.sign == "," else cells
        self.fits = self.sign == "." or _all(cells, COMMA)
        if self.fits:
            self._narrow(point)
            self.fits = bool(self.styles) or _all(point, POINT)
        if self.fits:
            self.signs |= _holds(cells, ".") or _holds(cells, ",")
            self.shown = self.shown or _any(cells, SHOWS_POINT if self.sign == "." else SHOWS_COMMA)
            self.exact = self.exact and _survive(point)

    def _narrow(self, cells: pa.Array) -> None:
        """Take away the styles that some of these numbers are not written in."""
        import pyarrow.compute as pc

        left: set[str] = set()
        for style in (style for style in STYLES if style in self.styles):  # what is in the shortest style may have exponents
            if (style == "exponents" and "shortest" in left) or _all(cells, STYLES[style]):
                left.add(style)
        if "fixed" in left:
            self.decimals |= set(pc.unique(pc.subtract(pc.utf8_length(cells), pc.find_substring(cells, "."))).to_pylist())
            left -= {"fixed"} if len(self.decimals) > 1 else set()
        self.styles = left

    def add_whole(self) -> None:
        """Values that a bigint holds: written as either sign's shortest form has them."""
        self.styles &= {"shortest", "exponents"}

    @property
    def type(self) -> str | None:
        """double precision, or numeric where a double would lose digits; None where neither prints back, or where whole
        numbers are too long for bigint: codes, and not quantities."""
        if not self.signs and "shortest" in self.styles:
            return None
        styles = self.styles - {"exponents"}
        if self.exact and self.styles:
            return "double precision"
        return "numeric" if styles and styles != {"python"} else None


@dataclass
class Column:
    """What is known of a column's values, batch after batch."""

    name: str
    possible: dict[str, str] = field(default_factory=lambda: {"bigint": BIGINT, "boolean": BOOLEAN, **TIMES})
    point: Numbers = field(default_factory=lambda: Numbers("."))
    comma: Numbers = field(default_factory=lambda: Numbers(","))
    values: int = 0
    words: dict[str, int] = field(default_factory=dict)  # that stand for NULL
    zero_dates: int = 0
    days_alone: int = 0  # dates without a time
    padded: bool = False
    offsets: bool = False
    like_numbers: bool = True
    like_dates: bool = True
    no_day: str = ""
    odd: tuple[int, str] | None = None  # the first number that no style writes so

    def add(self, cells: pa.Array, lines: pa.Array) -> None:
        """One batch: values as text, and the line of each."""
        import pyarrow.compute as pc

        words = pc.is_in(cells, _strings(NULLS))
        for count in pc.value_counts(cells.filter(words)).to_pylist():
            self.words[count["values"]] = self.words.get(count["values"], 0) + count["counts"]
        keep = pc.and_(pc.invert(words), pc.not_equal(cells, ""))
        cells, lines = cells.filter(keep), lines.filter(keep)
        if not len(cells):
            return
        bare = pc.utf8_trim(cells, " ")
        self.values += len(cells)
        if self.like_numbers:
            self.like_numbers = _all(bare, LOOSE)
        if self.like_dates:
            self.like_dates = _all(bare, OTHER_DATE)
        if not (self.possible or self.point.fits or self.comma.fits):
            return
        self.padded |= pc.any(pc.not_equal(cells, bare)).as_py()
        whole = _all(bare, BIGINT)
        for numbers in (self.point, self.comma):
            numbers.add_whole() if whole else numbers.add(bare)
        if self.odd is None and self.like_numbers:
            self.odd = _first(bare, lines, f"{STYLES['shortest']}|{STYLES['python']}")
        dates = bare
        if TIMES.keys() & self.possible.keys() and _any(bare, rf"^({ZERO_DATE})$"):
            dates = bare.filter(pc.invert(pc.match_substring_regex(bare, rf"^({ZERO_DATE})$")))
            self.zero_dates += len(bare) - len(dates)
        if "timestamp" in self.possible:
            self.days_alone += pc.sum(pc.equal(pc.utf8_length(dates), len("2024-12-31")), min_count=0).as_py()
        for kind in tuple(self.possible):
            if not _all(dates if kind in TIMES else bare, self.possible[kind]) or not self._are_days(kind, dates):
                del self.possible[kind]
        if "timestamptz" in self.possible:
            self.offsets |= _any(pc.replace_substring_regex(dates, NO_OFFSET, ""), r":[0-9.]+[+-][0-9]{2}(:?[0-9]{2})?$")

    def _are_days(self, kind: str, cells: pa.Array) -> bool:
        """Whether values that look like dates are days of the calendar."""
        import pyarrow as pa
        import pyarrow.compute as pc

        types = {"date": pa.date32(), "timestamp": pa.timestamp("s"), "timestamptz": pa.timestamp("s", "UTC")}
        if kind not in types:
            return True
        try:
            pc.replace_substring_regex(cells, "[.][0-9]+", "").cast(types[kind])
        except pa.ArrowInvalid as error:
            self.no_day = self.no_day or "".join(str(error).split("'")[1:2])
            return False
        return True


@dataclass(frozen=True)
class Type:
    """postgres: its name. comma: numbers have a decimal comma."""

    postgres: str
    comma: bool = False


def decide(columns: Sequence[Column], delimiter: str, forced: Mapping[str, str]) -> tuple[list[Type], list[str]]:
    """The type of each column, and what is to be said about them. How decimals are parted is the file's own, not a column's."""
    shown = [one.name for one in columns if one.comma.fits and one.comma.shown]
    points = [one.name for one in columns if one.point.fits and one.point.shown]
    commas = shown if delimiter not in ",|" else []
    doubtful = bool(shown) and not points  # where "1,2" may be a list, it still makes 1.234 doubtful
    types, undecided = [], []
    for column in columns:
        chosen = None if column.name in forced else _number(column, delimiter, bool(commas), bool(points), doubtful)
        if column.name in forced:
            kind = forced[column.name]
            types.append(Type(kind, bool(commas) and kind in DECIMALS and column.comma.fits and column.comma.signs))
        elif chosen is None:
            undecided.append(column.name)
            types.append(Type("text"))
        else:
            types.append(chosen)
    return types, list(_sentences(columns, types, undecided, commas, points, forced))


def forced_types(types: Mapping[str, str], header: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """--types by the names of the table; a column may also be called as the file's header has it.

    Raises:
        EvergreenError: there is no such column, or the type is none that is offered.
    """
    found = {}
    for said, kind in types.items():
        meant = [name for name in names if name == said] or [
            name for before, name in zip(header, names, strict=True) if before == said
        ]
        if not meant:
            raise EvergreenError(f"--types {said}={kind}: the file has no column {said!r}. It has: {_listed(names)}.")
        if kind not in FORCED:
            raise EvergreenError(f"--types {said}={kind}: offered are {', '.join(FORCED)}.")
        found |= dict.fromkeys(meant, kind)
    return found


def stored(cells: pa.Array, kind: Type) -> pa.Array:
    """Values as Postgres reads them for a type: what stands for NULL is NULL; of text, \\N alone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    absent = pc.is_in(cells, _strings((SQL_NULL,) if kind.postgres == "text" else (*NULLS, "")))
    if kind.postgres in TIMES:
        absent = pc.or_(absent, pc.match_substring_regex(cells, rf"^ *({ZERO_DATE}) *$"))
    cells = pc.if_else(absent, pa.scalar(None, pa.string()), cells)
    return to_point(cells) if kind.comma else cells


def unfit(cells: pa.Array, lines: pa.Array, kind: str) -> tuple[int, str] | None:
    """Line and text of the first value that is none of a type that was named by --types."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = pc.fill_null(pc.invert(pc.match_substring_regex(cells, rf"^ *({FORCED[kind]}) *$")), False)
    if not pc.any(keep).as_py():
        keep = pa.array([text is not None and not _is_within(text.strip(), kind) for text in cells.to_pylist()], pa.bool_())
    return None if not pc.any(keep).as_py() else (lines.filter(keep)[0].as_py(), cells.filter(keep)[0].as_py()[:40])


def _is_within(text: str, kind: str) -> bool:
    """Whether a value that is written as one of a type is one: no 30th of February, and nothing beyond the type's ends."""
    if kind in WHOLE_BITS:
        return -(2 ** WHOLE_BITS[kind]) <= int(text) < 2 ** WHOLE_BITS[kind]
    if kind in ENDS:
        smallest, largest = ENDS[kind]
        return smallest <= abs(float(text)) <= largest or not Decimal(text)
    return kind not in TIMES or _is_moment(text)


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def to_point(cells: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.replace_substring(pc.replace_substring(cells, ".", ""), ",", ".")


def _number(column: Column, delimiter: str, commas: bool, points: bool, doubtful: bool) -> Type | None:
    """The type of a column's values; None where nobody can tell what a sign in its numbers parts."""
    if not column.values:
        return Type("text")
    if "bigint" in column.possible:
        return Type("bigint")
    point = column.point.type if column.point.fits else None
    comma = column.comma.type if column.comma.fits and column.comma.signs and delimiter not in ",|" else None
    if column.comma.fits and column.comma.shown and comma:
        return Type(comma, comma=True)
    if point and (column.point.shown or not column.point.signs or points or (delimiter in ",|" and not doubtful)):
        return Type(point) if not (commas and points and column.comma.fits and not column.point.shown) else None
    if comma and commas and not points:
        return Type(comma, comma=True)
    if (point or comma) and column.comma.fits:
        return None
    only_zeros = column.values == column.zero_dates
    return Type(next((kind for kind in column.possible if kind == "boolean" or (kind in TIMES and not only_zeros)), "text"))


def _sentences(
    columns: Sequence[Column], types: Sequence[Type], undecided: Sequence[str], commas: Sequence[str], points: Sequence[str],
    forced: Mapping[str, str],
) -> Iterator[str]:  # fmt: skip
    if commas:
        read = [one.name for one, of in zip(columns, types, strict=True) if of.comma]
        also = f", though {_listed(points)} has decimal points" if points else ""
        yield f"Decimal commas in {_listed(commas)}{also}. Read so, 1.234 being 1234: {_listed(read)}."
    if undecided:
        yield (
            f"In {_listed(undecided)} a point or comma parts thousands or decimals, and the file does not tell which: text. "
            "Where 1.234 is meant as it stands, --types COLUMN='double precision'."
        )
    found = [
        line
        for column, of in zip(columns, types, strict=True)
        if column.name not in undecided
        for line in _of_column(column, of, column.name in forced)
    ]
    yield from found[:SHOWN]
    if found[SHOWN:]:
        yield f"... and {len(found) - SHOWN:,} more such lines about columns."


def _of_column(column: Column, of: Type, named: bool) -> Iterator[str]:
    about = f"Column {column.name!r}"
    words = column.words if of.postgres != "text" else {word: n for word, n in column.words.items() if word == SQL_NULL}
    if words:
        yield f"{about}: NULL where it says {', '.join(f'{word} ({count:,} times)' for word, count in words.items())}."
    if of.postgres in TIMES and column.zero_dates:
        yield f"{about}: {column.zero_dates:,} dates of zeros (0000-00-00) are NULL."
    if of.postgres == "timestamptz" and column.offsets:
        yield f"{about}: times are kept as moments and print in UTC; the offsets they were written with are not kept."
    if of.postgres == "timestamp" and column.days_alone:
        yield f"{about}: {column.days_alone:,} dates without a time are kept as midnight."
    if of.postgres != "text" and column.padded:
        yield f"{about}: blanks around its values are not kept."
    numbers = column.comma if of.comma else column.point
    if of.postgres == "double precision" and not named and numbers.styles == {"exponents"}:
        yield f"{about}: numbers with exponents; they print back without."
    if named or of.postgres != "text" or not column.values:
        return
    if column.like_numbers:
        why = f"{column.odd[1]!r} in line {column.odd[0]:,}" if column.odd else "zeros at the end of some, or too many digits"
        yield f"{about}: numbers that would not come back as they are written ({why}), so it is text. See --types."
    elif column.like_dates:
        yield f"{about}: dates that are not written as 2024-12-31, so it is text. Which comes first, day or month?"
    elif column.no_day:
        yield f"{about}: looks like dates, but {column.no_day!r} is no day of the calendar, so it is text."


def _survive(cells: pa.Array) -> bool:
    """Whether doubles keep all digits of these numbers, written with a point."""
    import pyarrow.compute as pc

    doubtful = pc.or_(pc.greater(pc.utf8_length(cells), EXACT_DIGITS), pc.match_substring_regex(cells, LARGE_EXPONENT))
    return all(map(_prints_back, cells.filter(doubtful).to_pylist()))


def _prints_back(text: str) -> bool:
    """Whether a double has this very value, or prints so with as many decimals."""
    mantissa, exponent, _ = text.lower().partition("e")
    number, decimals = float(text), len(mantissa.partition(".")[2])
    if exponent:
        return Decimal(text) in (Decimal(repr(number)), Decimal(f"{number:.{decimals}e}"))
    return text in (repr(number), f"{number:.{decimals}f}")


def _first(cells: pa.Array, lines: pa.Array, pattern: str) -> tuple[int, str] | None:
    import pyarrow.compute as pc

    other = pc.invert(pc.match_substring_regex(cells, rf"^({pattern})$"))
    return None if not pc.any(other).as_py() else (lines.filter(other)[0].as_py(), cells.filter(other)[0].as_py()[:40])


def _all(cells: pa.Array, pattern: str) -> bool:
    import pyarrow.compute as pc

    return pc.all(pc.match_substring_regex(cells, rf"^({pattern})$"), min_count=0).as_py()


def _holds(cells: pa.Array, text: str) -> bool:
    import pyarrow.compute as pc

    return pc.any(pc.match_substring(cells, text), min_count=0).as_py()


def _any(cells: pa.Array, pattern: str) -> bool:
    import pyarrow.compute as pc

    return pc.any(pc.match_substring_regex(cells, pattern), min_count=0).as_py()


def _strings(values: Any) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.string())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
