"""The field's words: none of the invented ones comes back as a name in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = [
    path for name in ("cli", "flows", "infra", "monitoring", "pipelines", "serving") for path in (ROOT / name).rglob("*.py")
]

# a name, or a part of one between underscores -> what to write
INVENTED = {
    "reign": "tenure",
    "reigning": "current champion",
    "novelty": "drift score",
    "suspicion": "warning",
    "told": "notified",
    "untold": "pending",
    "mended": "fixed",
    "mend": "fix",
    "unproven": "inconclusive",
    "foreseen": "minimum detectable effect",
    "foresee": "minimum detectable effect",
    "handover": "remote execution",
    "elsewhere": "on another worker",
    "unwanted": "cancelled",
    "bury": "reap",
    "burial": "reap",
    "begun": "started",
    "whence": "source",
    "foretold": "predicted",
    "leavers": "positives",
    "unfit": "unsupported, ineligible",
    "learnt": "trained, fitted",
    "dirt": "data-quality defect",
    "refusals": "validation errors",
    "follower": "watcher",
    "grounds": "dataset",
    "garbled": "corrupt",
    "customers": "entities",
    "inert": "sanitized",
}
# packages whose variables are still to be named
WAITING = (
    "cli/init",
    "cli/check_sql",
    "cli/load",
    "pipelines/validation",
    "pipelines/data",
    "pipelines/registry",
)
# names of variables and parameters that do not say what they hold
EMPTY = {"one", "found", "of", "said", "known", "theirs", "ours", "mine", "own", "here", "where", "says"}


def names(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Every name that a module gives, its line, and whether it is a variable's or a parameter's."""
    fields = {
        id(line.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno, False
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno, True
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno, id(node) not in fields


def wrong(path: Path) -> Iterator[str]:
    given = [*names(ast.parse(path.read_text(encoding="utf-8"))), (path.stem, 0, False)]
    for name, line, is_variable in given:
        parts = re.findall(r"[a-z]+", re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())
        invented = [INVENTED[part] for part in parts if part in INVENTED]
        if invented or (is_variable and name in EMPTY):
            yield f"{path.relative_to(ROOT)}:{line} {name}" + (f" -> {invented[0]}" if invented else ": say what it holds")


@pytest.mark.parametrize("package", ["cli", "flows", "infra", "monitoring", "pipelines", "serving"])
def test_names_are_the_fields(package: str) -> None:
    files = [path for path in PRODUCT if path.is_relative_to(ROOT / package)]
    judged = [path for path in files if not path.relative_to(ROOT).as_posix().startswith(WAITING)]
    assert [text for path in judged for text in wrong(path)] == []


def test_an_invented_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text("def is_reigning(one, version):\n    for verdict in version:\n        found = verdict\n")
    assert list(wrong(path)) == [
        "module.py:1 is_reigning -> current champion",
        "module.py:1 one: say what it holds",
        "module.py:3 found: say what it holds",
    ]
