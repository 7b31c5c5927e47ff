"""Values as they stand in a YAML file that a person is to edit."""

from __future__ import annotations

import json
import re
from typing import Any

PLAIN = re.compile(r"[^\W\d_]([\w ()/+-]*[\w)])?")  # texts that need no quotes, unless they are a word below
WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}


def flow(value: Any) -> str:
    """A value on one line. A text in quotes is written as JSON does, which every reader of YAML understands."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)
    # signs that YAML takes for the end of a line, or does not take at all
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]", lambda sign: f"\\u{ord(sign[0]):04x}", text)
