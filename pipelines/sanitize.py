"""Text that no page, script or spreadsheet can take for more than text: names and values, before a library renders them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 60
LONGEST_SENTENCE = 1200


def text(value: object, longest: int = LONGEST) -> str:
    """Letters of any script, digits, spaces and a little punctuation stay; everything else, such as `<`, `=`, quotes
    and marks that turn the direction of reading, becomes `_`.
    """
    kept = re.sub(r"[^\w .,:;()%+\-]", "_", str(value))[:longest]
    return re.sub(r"^[+\-]", "_", kept) or "(empty)"


def visible(value: object) -> str:
    """Any letter and sign on one line; what is not seen (control characters, marks that turn the direction of reading)
    becomes `_`.
    """
    return "".join("_" if unicodedata.category(sign)[0] == "C" else sign for sign in " ".join(str(value).split()))


def sentence(value: object, longest: int = LONGEST_SENTENCE) -> str:
    """A text for people, which no spreadsheet takes for a formula. It may hold any sign: it is still to be escaped for HTML."""
    kept = re.sub(r"^[=+\-@]", "_", visible(value))
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def names(values: Iterable[str]) -> dict[str, str]:
    """Inert text of each value; values that would look alike get a number."""
    shown: dict[str, str] = {}
    taken: set[str] = set()
    for value in values:
        name, number = text(value), 2
        while name in taken:
            name, number = f"{text(value)} ({number})", number + 1
        shown[value] = name
        taken.add(name)
    return shown
