"""Golden files: what a page looked like when somebody last looked at it, beside the tests that make it."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"


def assert_golden(name: str, page: str) -> None:
    """The page is the file tests/golden/NAME, styles left out; EVERGREEN_GOLDEN=write makes it so: look at it then."""
    body = page.partition("<style>")[0] + page.partition("</style>")[2]
    file = FOLDER / name
    if os.environ.get("EVERGREEN_GOLDEN") == "write":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(body, encoding="utf-8")
    assert body == file.read_text(encoding="utf-8"), f"{name} has changed: EVERGREEN_GOLDEN=write, and look at the difference"
