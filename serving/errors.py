"""Why a request is refused: where, of what kind, and what would be right; never what it held.

Of a client's own words only the name of a field that does not exist is sent back, cut, so that it can be found.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

MOST_FAULTS = 20  # of a request that are told
LONGEST_NAME = 100  # characters of an unknown field's name that are sent back
BODY_BYTES = 2**20  # of a request: 1,000 rows of 100 features
# HTTP status -> type -> what it means, for people; the OpenAPI document lists them
CODES: dict[int, dict[str, str]] = {
    400: {"disconnected": "The client ended the connection before its request was whole."},
    401: {
        "key_missing": "A key is needed: the header `Authorization: Bearer KEY`. `evergreen key create` makes one.",
        "key_invalid": "This key is not known, or was revoked. `evergreen key list` shows which are valid.",
    },
    403: {"key_scope": "This key may not do that. `evergreen key list` shows what each may do."},
    404: {"not_found": "There is nothing at this address: /docs lists what there is."},
    405: {"method_not_allowed": "This address does not take that method: /docs lists what it takes."},
    409: {"no_background": "This version was packaged without rows to compare with, so it cannot give reasons."},
    413: {"body_too_large": f"At most {BODY_BYTES:,} bytes a request: send the rows in several."},
    415: {
        "content_type": "The body is JSON: send `Content-Type: application/json`.",
        "content_encoding": "The body comes as it is: send it without Content-Encoding.",
    },
    422: {
        "json_invalid": "The body is not JSON in UTF-8, or holds a number that JSON does not have, such as NaN.",
        "missing": "This field is needed; null where the value is not known.",
        "extra_forbidden": "The model reads no field of this name.",
        "duplicate_field": "This name stands twice in one object.",
        "nul_character": "The character NUL may stand in no text.",
        "object_type": "A row is an object of fields.",
        "too_few_rows": "At least one row.",
        "too_many_rows": "More rows than one request may have.",
        "too_many_rows_to_explain": "With explain=true, at most 10 rows a request.",
        "number_type": "Not a number.",
        "bool_type": "Neither true nor false.",
        "string_type": "Not a text.",
        "entity_type": "Neither a text nor an integer.",
        "out_of_range": "A number beyond what may stand here.",
        "string_too_short": "A text that is empty.",
        "string_too_long": "A text that is too long.",
        "bool_parsing": "true or false.",
        "value_error": "The value does not fit its field.",
    },
    500: {
        "internal_error": "A fault of the server: its log names the place.",
        "score_not_finite": "The model gave no probability for this row: tell who runs the server.",
    },
    503: {
        "no_version": "No version serves yet: /ready says why. Try again in a few seconds.",
        "log_unavailable": "The prediction log cannot be written, and no answer goes out unlogged. Try again later.",
        "explaining_others": "Other requests are being explained: try again in two seconds.",
    },
}


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, of what kind, and in words what would be right, with the limit that was passed."""

    loc: tuple[str | int, ...]
    type: str
    msg: str


@dataclass
class RequestError(Exception):
    """The answer to a request that is not served: an HTTP status and the faults, as `{"detail": [{"loc", "type", "msg"}]}`."""

    status: int
    faults: Sequence[Fault]
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self) -> bytes:
        return msgspec.json.encode({"detail": list(self.faults[:MOST_FAULTS])})


def internal_error(error: Exception) -> RequestError:
    """The answer where something of ours went wrong. The log names the place; the error's own text may quote a row."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" in {Path(frame.filename).name}, line {frame.lineno}" for frame in last)
    print(f"A fault of ours: {type(error).__name__}{place}", file=sys.stderr, flush=True)
    return http_error(500, "internal_error")


def http_error(status: int, kind: str, *loc: str | int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> RequestError:
    """A refusal with one fault."""
    return RequestError(status, (Fault(loc, kind, words(kind, status)),), headers)


def words(kind: str, status: int = 422) -> str:
    """What a type means."""
    return CODES.get(status, {}).get(kind) or "The request is refused."
