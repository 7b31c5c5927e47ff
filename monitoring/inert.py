"""Text that no page, script or spreadsheet can take for more than text: names and values, before a library renders them."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 60


def text(value: object, longest: int = LONGEST) -> str:
    """Letters of any script, digits, spaces and a little punctuation stay; everything else, such as `<`, `=`, quotes
    and marks that turn the direction of reading, becomes `_`.
    """
    kept = re.sub(r"[^\w .,:;()%+\-]", "_", str(value))[:longest]
    return re.sub(r"^[+\-]", "_", kept) or "(empty)"


def names(values: Iterable[str]) -> dict[str, str]:
    """Inert text of each value; values that would look alike get a number."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for value in values:
        name, number = text(value), 2
        while name in taken:
            name, number = f"{text(value)} ({number})", number + 1
        found[value] = name
        taken.add(name)
    return found
