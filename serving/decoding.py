"""What a request holds: rows of the version's own features, decoded and checked in one pass by msgspec.

The schema is made of the bundle's feature list. A body is one row, an object, or several, an array of them. Every feature
must be there, and null is a missing value; beside the features a row may say whom it is about, under the name of the entity's
column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from serving import faults
from serving.columns import INTEGER, LARGEST, LONGEST_ENTITY, LONGEST_TEXT, Columns
from serving.errors import Fault, RequestError, http_error, words

NUL = b"\\u0000"  # as JSON writes the one character that Postgres holds in no text

Number = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Flag = bool | Annotated[float, msgspec.Meta(ge=0, le=1)]
Text = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
Entity = (
    Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ENTITY)]
    | Annotated[int, msgspec.Meta(ge=-INTEGER, le=INTEGER)]
)


class Requests:
    """Decodes the requests to one version."""

    def __init__(self, columns: Columns) -> None:
        kinds: dict[str, Any] = {"number": Number, "boolean": Flag, "text": Text}
        names = [*columns.kinds, columns.entity]
        fields = [(f"f{index}", kinds[kind] | None) for index, kind in enumerate(columns.kinds.values())]
        self.columns = columns
        row: Any = msgspec.defstruct(
            "Row",
            [*fields, (f"f{len(fields)}", Entity | None, None)],
            rename={f"f{index}": name for index, name in enumerate(names)},
            forbid_unknown_fields=True,
            omit_defaults=True,  # the entity leaves the row when it is noted elsewhere
            gc=False,
        )
        self.entity = f"f{len(fields)}"
        self.row = row
        several: Any = Annotated[list[row], msgspec.Meta(min_length=1, max_length=columns.max_rows)]
        self._decode = msgspec.json.Decoder(self.row | several).decode
        self._fields = len(fields)

    def decode(self, body: bytes) -> tuple[list[Any], bool]:
        """The rows of a body, and whether it was an array of them.

        Raises:
            RefusedError: the body is not JSON (422 as well), or not of this version's rows.
        """
        try:
            decoded = self._decode(body)
        except msgspec.ValidationError as error:
            raise RequestError(422, faults.of_values(body, self.columns, str(error))) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise http_error(422, "json_invalid", "body") from None
        several = type(decoded) is list
        rows = decoded if several else [decoded]
        entity = self.entity
        named = 0
        for row in rows:
            named += getattr(row, entity) is not None
        # as many colons as fields: then no name stands twice, which msgspec does not see; else one is in a text, or it does
        if body.count(b":") != len(rows) * self._fields + named or NUL in body:
            _refuse_odd(body, self.columns)
        return rows, several


def _refuse_odd(body: bytes, columns: Columns) -> None:
    """Look for a name that stands twice in an object, and for NUL in a text."""

    def pairs(decoded: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(decoded)
        if len(row) != len(decoded):
            raise http_error(422, "duplicate_field", "body", *_twice(decoded, columns))
        return row

    decoded = json.loads(body, object_pairs_hook=pairs)
    if strange := list(_with_nul(decoded if isinstance(decoded, list) else [decoded])):
        sentence = words("nul_character")
        raise RequestError(422, [Fault(("body", name), "nul_character", sentence) for name in dict.fromkeys(strange)])


def _twice(pairs: Sequence[tuple[str, Any]], columns: Columns) -> list[str]:
    names = [name for name, _ in pairs]
    return [name for name in (*columns.kinds, columns.entity) if names.count(name) > 1][:1]


def _with_nul(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (name for row in rows for name, value in row.items() if isinstance(value, str) and "\x00" in value)
