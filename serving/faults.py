"""What is wrong with a body that msgspec has refused: it tells of the first fault, and a client wants to know of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from serving.columns import INTEGER, LARGEST, LONGEST_ENTITY, LONGEST_TEXT, Columns
from serving.refusals import MOST_FAULTS, Fault

LIKELY = {  # how msgspec's messages begin, where the body cannot be looked at otherwise
    "Number out of range": "out_of_range",
    "Integer value out of range": "out_of_range",
}


def of_values(body: bytes, columns: Columns, said: str) -> list[Fault]:
    """At least one fault, at most MOST_FAULTS, in the order of rows and features.

    Args:
        said: msgspec's message.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # malformed further on, or a number that no float holds
        kind = next((kind for start, kind in LIKELY.items() if said.startswith(start)), "json_invalid")
        return [Fault(("body", *_field_in(said, columns)), kind)]
    if isinstance(found, list) and not 1 <= len(found) <= columns.max_rows:
        return [Fault(("body",), "too_few_rows" if not found else "too_many_rows")]
    listed = []
    for fault in _of_body(found, columns):
        listed.append(fault)
        if len(listed) == MOST_FAULTS:
            break
    return listed or [Fault(("body", *_field_in(said, columns)), "value_error")]


def _of_body(found: Any, columns: Columns) -> Iterator[Fault]:
    if isinstance(found, list):
        for place, row in enumerate(found):
            yield from _of_row(row, ("body", place), columns)
    else:
        yield from _of_row(found, ("body",), columns)


def _of_row(row: Any, loc: tuple[str | int, ...], columns: Columns) -> Iterator[Fault]:
    if not isinstance(row, dict):
        yield Fault(loc, "object_type")
        return
    for name, kind in columns.kinds.items():
        if name not in row:
            yield Fault((*loc, name), "missing")
        elif row[name] is not None and (wrong := KINDS[kind](row[name])):
            yield Fault((*loc, name), wrong)
    entity = row.get(columns.entity)
    if entity is not None and (wrong := _of_entity(entity)):
        yield Fault((*loc, columns.entity), wrong)
    if row.keys() - columns.kinds.keys() - {columns.entity}:
        yield Fault(loc, "extra_forbidden")  # its name is the client's own word


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


def _field_in(said: str, columns: Columns) -> list[str]:
    """The version's field that a message ends with, if any."""
    path = said.rpartition(" - at `$")[2].rstrip("`")
    return [name for name in (*columns.kinds, columns.entity) if path.endswith(f".{name}")][:1]
