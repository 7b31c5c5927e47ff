"""What is wrong with a body that msgspec has refused: it tells of the first fault, and a client wants to know of all."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import msgspec

from serving.columns import INTEGER, LARGEST, LONGEST_ENTITY, LONGEST_TEXT, Columns
from serving.errors import LONGEST_NAME, MOST_FAULTS, Fault, words

LIKELY = {  # how msgspec's messages begin, where the body cannot be looked at otherwise
    "Number out of range": "out_of_range",
    "Integer value out of range": "out_of_range",
}

ENTITY = "entity"
EXPECTED = {  # kind of a column -> what may stand there, with its limits
    "number": f"A number from {-LARGEST:.8g} to {LARGEST:.8g}, as float32 holds it, or null.",
    "boolean": "true, false, a number from 0 to 1, or null.",
    "text": f"A text of at most {LONGEST_TEXT:,} characters, or null.",
    ENTITY: f"A text of 1 to {LONGEST_ENTITY} characters, an integer from {-INTEGER} to {INTEGER}, or null.",
}


def of_values(body: bytes, columns: Columns, error_text: str) -> list[Fault]:
    """At least one fault, at most MOST_FAULTS, in the order of rows and features.

    Args:
        said: msgspec's message.
    """
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # malformed further on, or a number that no float holds
        kind = next((kind for start, kind in LIKELY.items() if error_text.startswith(start)), "json_invalid")
        field = _field_in(error_text, columns)
        return [Fault(("body", *field), kind, _expected(field, columns) if kind == "out_of_range" else words(kind))]
    if isinstance(decoded, list) and not 1 <= len(decoded) <= columns.max_rows:
        limit = f"1 to {columns.max_rows:,} rows a request, and these are {len(decoded):,}."
        return [Fault(("body",), "too_few_rows" if not decoded else "too_many_rows", limit)]
    listed = []
    for fault in _of_body(decoded, columns):
        listed.append(fault)
        if len(listed) == MOST_FAULTS:
            break
    field = _field_in(error_text, columns)
    return listed or [Fault(("body", *field), "value_error", _expected(field, columns))]


def _of_body(decoded: Any, columns: Columns) -> Iterator[Fault]:
    if isinstance(decoded, list):
        for place, row in enumerate(decoded):
            yield from _of_row(row, ("body", place), columns)
    else:
        yield from _of_row(decoded, ("body",), columns)


def _of_row(row: Any, loc: tuple[str | int, ...], columns: Columns) -> Iterator[Fault]:
    if not isinstance(row, dict):
        yield Fault(loc, "object_type", words("object_type"))
        return
    for name, kind in columns.kinds.items():
        if name not in row:
            yield Fault((*loc, name), "missing", f"{words('missing')} {EXPECTED[kind]}")
        elif row[name] is not None and (wrong := KINDS[kind](row[name])):
            yield Fault((*loc, name), wrong, EXPECTED[kind])
    entity = row.get(columns.entity)
    if entity is not None and (wrong := _of_entity(entity)):
        yield Fault((*loc, columns.entity), wrong, EXPECTED[ENTITY])
    names = [*columns.kinds, columns.entity]
    for name in row:
        if name not in columns.kinds and name != columns.entity:
            shown = name[:LONGEST_NAME].encode("utf-8", "replace").decode()
            yield Fault((*loc, shown), "extra_forbidden", f"{words('extra_forbidden')}{_meant(shown, names)}")


def _meant(name: str, names: list[str]) -> str:
    """The field that was probably meant, if any is near."""
    near = difflib.get_close_matches(name, names, 1)
    return f" Did you mean {near[0]}?" if near else " GET /model lists those it reads."


def _expected(field: list[str], columns: Columns) -> str:
    """What may stand in a field; of none that is known, what its type says."""
    return EXPECTED[columns.kinds.get(field[0], ENTITY)] if field else words("value_error")


def _of_number(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "number_type"
    return None if -LARGEST <= value <= LARGEST else "out_of_range"


def _of_flag(value: Any) -> str | None:
    if not isinstance(value, bool | int | float):
        return "bool_type"
    return None if 0 <= value <= 1 else "out_of_range"


def _of_text(value: Any) -> str | None:
    if not isinstance(value, str):
        return "string_type"
    return "string_too_long" if len(value) > LONGEST_TEXT else None


def _of_entity(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return "entity_type"
    if isinstance(value, int):
        return None if -INTEGER <= value <= INTEGER else "out_of_range"
    if not value:
        return "string_too_short"
    return "string_too_long" if len(value) > LONGEST_ENTITY else None


KINDS = {"number": _of_number, "boolean": _of_flag, "text": _of_text}


def _field_in(error_text: str, columns: Columns) -> list[str]:
    """The version's field that a message ends with, if any."""
    path = error_text.rpartition(" - at `$")[2].rstrip("`")
    return [name for name in (*columns.kinds, columns.entity) if path.endswith(f".{name}")][:1]
