"""What the pipeline itself needs of the extracted rows, computed over all of them in bounded memory.

No cell of the data reaches a check: only counts, types and the names of columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.params import DataParams, ValidateParams

LONGEST_TEXT = 10_000  # characters of a cell: more is a document or a broken load, and no category
NUMBER, TEXT, BOOLEAN = "a number", "text", "true or false"
LOOK = "Look into the source and training_set.sql."


@dataclass(frozen=True)
class Check:
    """One line of the verdict. `observed` holds counts, types and aggregates, never a cell."""

    type: str
    column: str | None
    expected: str
    observed: str
    success: bool
    severity: str = "critical"
    advice: str = LOOK

    def __str__(self) -> str:
        where = f" [{plain(self.column)}]" if self.column else ""
        return f"{self.type}{where}: expected {self.expected}, found {self.observed}. {self.advice}"


@dataclass
class Facts:
    """What one pass over a column finds: its type, and numbers of cells and characters."""

    type: pa.DataType
    nulls: int = 0
    not_finite: int = 0
    longest: int = 0

    def add(self, cells: pa.Array) -> None:
        self.nulls += cells.null_count
        if pa.types.is_floating(self.type):
            self.not_finite += pc.sum(pc.invert(pc.is_finite(cells))).as_py() or 0
        elif kind(self.type) == TEXT:
            self.longest = max(self.longest, pc.max(pc.utf8_length(cells)).as_py() or 0)


def survey(rows: Path) -> tuple[int, dict[str, Facts]]:
    """Number of rows, and the facts of each column, a batch at a time."""
    with pq.ParquetFile(rows) as file:
        facts = {field.name: Facts(field.type) for field in file.schema_arrow}
        for batch in file.iter_batches():
            for name, cells in zip(batch.schema.names, batch.columns, strict=True):
                facts[name].add(cells)
        return file.metadata.num_rows, facts


def check_shape(
    total: int, facts: dict[str, Facts], digest: str, manifest: dict[str, Any], relied: dict[str, str], least: int
) -> list[Check]:
    """Enough rows, the very file of the manifest, and every column that somebody relies on.

    Args:
        digest: SHA-256 of the file.
        relied: columns that params.yaml and the expectations name, each with the severity of its loss.
        least: rows.
    """
    lost, strange = absent(relied, facts), sorted(set(facts) - set(relied))
    severity = "warning" if lost and all(relied[name] == "warning" for name in lost) else "critical"
    found = plain(f"missing: {', '.join(lost)}; unexpected: {', '.join(strange) or 'none'}") if lost else "all of them"
    described = f"{manifest['rows']} rows and {len(manifest['columns'])} columns"
    same = manifest["rows"] == total and set(manifest["columns"]) == set(facts) and manifest["rows_sha256"] == digest
    content = "its very content" if manifest["rows_sha256"] == digest else "another content"
    return [
        Check("rows", None, "enough rows", f"{total} rows, at least {least} needed", total >= least),
        Check(
            "manifest", None, described, f"{total} rows and {len(facts)} columns, {content}", same,
            advice="The rows are not those that the manifest describes: run extract again.",
        ),
        Check(
            "columns", ", ".join(lost) or None, "the columns that params.yaml and the expectations name", found, not lost,
            severity=severity,
            advice="Dropped or renamed? Restore it in training_set.sql, or change params.yaml and the expectations.",
        ),
    ]  # fmt: skip


def check_columns(total: int, facts: dict[str, Facts]) -> list[Check]:
    """Every column that a model or the audit may see can be used; one line a failure, or one for all."""
    types = {name: f"{fact.type}" for name, fact in facts.items() if not kind(fact.type)}
    cast = "Cast it in training_set.sql (a date to days, a decimal to double precision), or add it to features.exclude."
    infinite = {name: f"{fact.not_finite} NaN or infinite" for name, fact in facts.items() if fact.not_finite}
    empty = {name: f"{fact.nulls} of {total} NULL" for name, fact in facts.items() if total and fact.nulls == total}
    long = {name: f"{fact.longest} in the longest cell" for name, fact in facts.items() if fact.longest > LONGEST_TEXT}
    return [
        *_each("type", types, f"{NUMBER}, {TEXT} or {BOOLEAN}", cast),
        *_each("finite", infinite, "finite numbers or NULL", "Make them NULL in training_set.sql if they mean unknown."),
        *_each("not_all_null", empty, "some values", "Repair the feed, or take the column out of training_set.sql."),
        *_each("text_length", long, f"at most {LONGEST_TEXT} characters", "Shorten it in training_set.sql, or leave it out."),
    ]


def check_labels(table: pa.Table, data: DataParams, params: ValidateParams) -> list[Check]:
    """Labels that can be learnt, and each row's key once; `table` holds the keys and the target of all rows."""
    labels, key = table[data.target], ", ".join(data.keys)
    nulls = sum(table[name].null_count for name in data.keys)
    checks = [Check("keys_present", key, "no NULL", f"{nulls} NULL", not nulls), _unique(table, data, key)]
    if not pa.types.is_integer(labels.type):
        found = f"{kind(labels.type) or 'another type'} ({labels.type})"
        return [
            *checks,
            Check("labels", data.target, "an integer, 0 or 1", found, False, advice="Cast it in training_set.sql."),
        ]
    counts = {int(value): int(count) for value, count in labels.to_pandas().value_counts().items()}
    strange = len(labels) - counts.get(0, 0) - counts.get(1, 0)
    known = f"labels are all {min(counts)}" if len(counts) == 1 else f"{counts.get(1, 0)} labels of 1, {counts.get(0, 0)} of 0"
    learnable = counts.get(0, 0) > 0 and counts.get(1, 0) >= params.min_positives
    later = "Are the labels already known at data.as_of? See horizon_days and embargo_days, and the query's label."
    return [
        *checks,
        Check("labels", data.target, "0 or 1 in every row", f"{strange} NULL or of another value", not strange),
        Check(
            "both_classes",
            data.target,
            f"both classes, at least {params.min_positives} labels of 1",
            known,
            learnable,
            advice=later,
        ),
    ]


def declared(data: DataParams) -> list[str]:
    """Columns that params.yaml names."""
    return [*data.keys, data.target, *data.protected]


def absent(names: Iterable[str], facts: dict[str, Facts]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in facts]


def kind(of: pa.DataType) -> str | None:
    """What a model can make of a type; None if nothing."""
    if pa.types.is_integer(of) or pa.types.is_floating(of):
        return NUMBER
    if pa.types.is_string(of) or pa.types.is_large_string(of):
        return TEXT
    return BOOLEAN if pa.types.is_boolean(of) else None


def plain(text: str | None) -> str:
    """Text that no page, shell or spreadsheet can take for more than text: other characters become `_`."""
    return re.sub(r"[^\w .,:;()%+\-]", "_", text or "")


def _each(name: str, failing: dict[str, str], expected: str, advice: str) -> list[Check]:
    """One failure a column, or one success for all columns."""
    if not failing:
        return [Check(name, None, expected, "all columns", True, advice=advice)]
    return [Check(name, column, expected, found, False, advice=advice) for column, found in failing.items()]


def _unique(table: pa.Table, data: DataParams, key: str) -> Check:
    groups = table.group_by(data.keys).aggregate([([], "count_all"), (data.target, "min"), (data.target, "max")])
    conflicts = pc.sum(pc.not_equal(groups[f"{data.target}_min"], groups[f"{data.target}_max"])).as_py() or 0
    repeated = table.num_rows - groups.num_rows
    found = f"{repeated} rows repeat a key, {conflicts} keys with conflicting labels"
    return Check(
        "keys_unique", key, "each key once", found, not repeated, advice="Does a join in training_set.sql multiply rows?"
    )
