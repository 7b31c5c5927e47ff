"""params.yaml: one owner a key, and a pin that changes nothing else."""

import difflib
from pathlib import Path

import pytest

from pipelines.config import params
from pipelines.config.errors import EvergreenError

TEXT = Path("params.yaml").read_text(encoding="utf-8")


def test_a_pin_changes_two_lines_and_no_comment(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(TEXT, encoding="utf-8")
    params.write_pin(file, "2023-03-31", "abc")
    changed = [line for line in difflib.ndiff(TEXT.splitlines(), file.read_text().splitlines()) if line[0] in "+-"]
    assert [line.split("#")[0].split() for line in changed if line[0] == "+"] == [
        ["+", "as_of:", '"2023-03-31"'],
        ["+", "fingerprint:", '"abc"'],
    ]
    assert len(changed) == 4
    assert params.read(file).data.binds["as_of"].isoformat() == "2023-03-31"


def test_a_table_without_a_clock_binds_no_date(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(TEXT, encoding="utf-8")
    params.write_pin(file, params.TIMELESS, "abc")
    assert params.read(file).data.binds["as_of"] is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  folds: 5", "  folds: many", r"split\.folds: .*found 'many'"),
        ("  folds: 5", "  folds: 1", r"split\.folds: .*found 1"),
        ("  folds: 5", "  test_share: 0.3", r"split\.test_share: no such key"),
        ("  serve: mean", "  serve: all", r"train\.serve: .*found 'all'"),
        ("snapshots: [1, 2, 4]", "snapshots: [1, 0]", r"recency\.snapshots\.1: .*found 0"),
        ("audit:\n", "audits:\n", r"audit: missing"),
        ("  row_key: null ", "  row_key: visit ", r"row_key visit names a row where .* there is no clock"),
        ("enabled: {linear: cpu, boosting: cpu, lightgbm: cpu, mlp: gpu}", "enabled: {}", r"candidates\.enabled is empty"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_found(tmp_path, old, new, said):
    file = tmp_path / "params.yaml"
    file.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(EvergreenError, match=said):
        params.read(file)


def test_text_that_is_not_yaml_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(EvergreenError, match="is not YAML"):
        params.read(tmp_path / "params.yaml")


def test_a_pin_leaves_a_long_line_on_one(tmp_path):
    long = ", ".join(f"column_{number}: [n/a, unknown]" for number in range(200))
    text = f"data:\n  as_of: null\n  fingerprint: null\nfeatures:\n  texts: {{{long}}}  # why\n"
    (tmp_path / "params.yaml").write_text(text)
    params.write_pin(tmp_path / "params.yaml", "2024-12-31", "abc")
    assert (tmp_path / "params.yaml").read_text() == text.replace("as_of: null", 'as_of: "2024-12-31"').replace(
        "fingerprint: null", 'fingerprint: "abc"'
    )
