"""What the pipeline itself needs of the extracted rows, computed over all of them in bounded memory.

No cell of the data reaches a check: only counts, types and the names of columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config.params import DataParams, ValidateParams

Source = Path | BinaryIO  # a Parquet file
LONGEST_TEXT = 10_000  # characters of a cell: more is a document or a broken load, and no category
LATER_SHARE = 0.001  # of a column's days may lie after the row's own: mistyped ones
NUMBER, TEXT, BOOLEAN = "a number", "text", "true or false"
LOOK = "Look into the source and training_set.sql."
KINDS = {
    "rows": "too few rows, or too many",
    "manifest": "other rows than were extracted",
    "columns": "a column is missing or has another name",
    "type": "a column of another type",
    "nulls": "missing more often than it was",
    "unit": "another order of magnitude: a unit, a currency, or another column's values",
    "range": "values outside of what was seen",
    "categories": "values that are unknown",
    "encoding": "characters that a wrong decoding leaves",
    "text": "texts of another form or length",
    "constant": "one value where there were many",
    "infinite": "NaN or infinite numbers",
    "duplicates": "a key more than once",
    "labels": "labels that cannot be learnt from, or of another share",
    "rule": "two columns that do not fit each other any more",
    "stale": "the newest rows are old",
    "future": "rows of days that have not come",
    "level": "a figure of the whole column is off",
    "leak": "a column that knows the answer",
    "sides": "the held-out rows are not apart from those that are learnt from",
    "clock": "the newest rows are unlike those that are learnt from",
}


@dataclass(frozen=True)
class Check:
    """One line of the verdict. `observed` holds counts, types and aggregates, never a cell.

    kind: what is wrong where it fails, in one word of KINDS.
    """

    type: str
    column: str | None
    expected: str
    observed: str
    success: bool
    severity: str = "critical"
    advice: str = LOOK
    kind: str = ""

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


def survey(rows: Source) -> tuple[int, dict[str, Facts]]:
    """Number of rows, and the facts of each column, a batch at a time."""
    with pq.ParquetFile(rows) as file:
        facts = {field.name: Facts(field.type) for field in file.schema_arrow}
        for batch in file.iter_batches():
            for name, cells in zip(batch.schema.names, batch.columns, strict=True):
                facts[name].add(cells)
        return file.metadata.num_rows, facts


def check_shape(
    total: int, facts: dict[str, Facts], described: dict[str, Any] | None, relied: dict[str, str], least: int
) -> list[Check]:
    """Enough rows, the very file of the manifest, and every column that somebody relies on.

    Args:
        described: the manifest, with the file's SHA-256 as `digest`; None where there is none.
        relied: columns that params.yaml and the expectations name, each with the severity of its loss.
        least: rows.
    """
    lost, strange = absent(relied, facts), sorted(set(facts) - set(relied))
    severity = "warning" if lost and all(relied[name] == "warning" for name in lost) else "critical"
    found = plain(f"missing: {', '.join(lost)}; unexpected: {', '.join(strange) or 'none'}") if lost else "all of them"
    return [
        Check("rows", None, "enough rows", f"{total} rows, at least {least} needed", total >= least, kind="rows"),
        *([_check_manifest(total, facts, described)] if described else []),
        Check(
            "columns", ", ".join(lost) or None, "the columns that params.yaml and the expectations name", found, not lost,
            severity=severity, kind="columns",
            advice="Dropped or renamed? Restore it in training_set.sql, or change params.yaml and the expectations.",
        ),
    ]  # fmt: skip


def _check_manifest(total: int, facts: dict[str, Facts], manifest: dict[str, Any]) -> Check:
    described = f"{manifest['rows']} rows and {len(manifest['columns'])} columns"
    unchanged = manifest["rows_sha256"] == manifest["digest"]
    same = manifest["rows"] == total and set(manifest["columns"]) == set(facts) and unchanged
    content = "its very content" if unchanged else "another content"
    advice = "The rows are not those that the manifest describes: run extract again."
    return Check(
        "manifest", None, described, f"{total} rows and {len(facts)} columns, {content}", same, advice=advice, kind="manifest"
    )


def check_account(total: int, account: dict[str, Any] | None) -> list[Check]:
    """The rows of the source are those left out and those read; of these some may have been alike, and count as one."""
    if not account:
        return []
    left_out = sum(account["left_out"].values())
    merged = account["read"] - total
    adds_up = account["source"] == left_out + account["read"] and merged >= 0
    alike = f", {merged:,} of them like others" if merged else ""
    found = f"{account['source']:,} in the source, {left_out:,} left out, {account['read']:,} read{alike}, {total:,} here"
    advice = "training_set.sql and left_out.sql do not leave out the same rows: change them together."
    return [Check("rows_accounted", None, "every row of the source", found, adds_up, "warning", advice, "rows")]


def check_columns(total: int, facts: dict[str, Facts]) -> list[Check]:
    """Every column that a model or the audit may see can be used; one line a failure, or one for all."""
    types = {name: f"{fact.type}" for name, fact in facts.items() if not kind(fact.type)}
    cast = "Cast it in training_set.sql (a date to days, a decimal to double precision), or add it to features.exclude."
    infinite = {name: f"{fact.not_finite} NaN or infinite" for name, fact in facts.items() if fact.not_finite}
    empty = {name: f"{fact.nulls} of {total} NULL" for name, fact in facts.items() if total and fact.nulls == total}
    long = {name: f"{fact.longest} in the longest cell" for name, fact in facts.items() if fact.longest > LONGEST_TEXT}
    return [
        *_each("type", "type", types, f"{NUMBER}, {TEXT} or {BOOLEAN}", cast),
        *_each(
            "finite", "infinite", infinite, "finite numbers or NULL", "Make them NULL in training_set.sql if they mean unknown."
        ),
        *_each("not_all_null", "nulls", empty, "some values", "Repair the feed, or take the column out of training_set.sql."),
        *_each(
            "text_length",
            "text",
            long,
            f"at most {LONGEST_TEXT} characters",
            "Shorten it in training_set.sql, or leave it out.",
        ),
    ]


def check_days(rows: Source, facts: dict[str, Facts], data: DataParams) -> list[Check]:
    """No date or timestamp of a row lies after the row's own day; one line a column that has some.

    They cannot be learnt from as they are (`type` says so). Whoever casts them should know.
    """
    named = [name for name, fact in facts.items() if pa.types.is_temporal(fact.type) and name not in data.hidden]
    if not named or not data.time or not pa.types.is_temporal(facts[data.time].type):
        return []
    later, seen = dict.fromkeys(named, 0), dict.fromkeys(named, 0)
    with pq.ParquetFile(rows) as file:
        for batch in file.iter_batches(columns=[data.time, *named]):
            for name in named:
                after = pc.greater(batch[name].cast(pa.date32(), safe=False), batch[data.time].cast(pa.date32(), safe=False))
                later[name] += pc.sum(after).as_py() or 0
                seen[name] += len(after) - after.null_count
    advice = "It is not known yet when the row is looked at: leave it out of training_set.sql, or take what was known by then."
    return [
        Check("not_after_snapshot", name, f"no day after {data.time}", f"{count} of {seen[name]} are later", False,
              advice=advice, kind="future")
        for name, count in later.items() if count > LATER_SHARE * seen[name]
    ]  # fmt: skip


def check_labels(table: pa.Table, data: DataParams, params: ValidateParams) -> list[Check]:
    """Labels that can be learnt, and each row's key once; `table` holds the keys and the target of all rows."""
    labels, key = table[data.target], ", ".join(data.key_columns)
    nulls = sum(table[name].null_count for name in data.key_columns)
    present = Check("keys_present", key, "no NULL", f"{nulls} NULL", not nulls, kind="nulls")
    checks = [present, _unique(table, data, key)]
    if not pa.types.is_integer(labels.type):
        found = f"{kind(labels.type) or 'another type'} ({labels.type})"
        return [
            *checks,
            Check(
                "labels", data.target, "an integer, 0 or 1", found, False, advice="Cast it in training_set.sql.", kind="labels"
            ),
        ]
    counts = {int(value): int(count) for value, count in labels.to_pandas().value_counts().items()}
    other = len(labels) - labels.null_count - counts.get(0, 0) - counts.get(1, 0)
    strange = other + labels.null_count
    found = f"{other} of a value that is none of the two, {labels.null_count} NULL"
    respelt = "Is a value of the label spelt otherwise now? Let training_set.sql say which of the two it is."
    known = f"labels are all {min(counts)}" if len(counts) == 1 else f"{counts.get(1, 0)} labels of 1, {counts.get(0, 0)} of 0"
    learnable = counts.get(0, 0) > 0 and counts.get(1, 0) >= params.min_positives
    later = "Are the labels already known at data.as_of? See horizon_days and embargo_days, and the query's label."
    return [
        *checks,
        Check("labels", data.target, "0 or 1 in every row", found, not strange, advice=respelt, kind="labels"),
        Check(
            "both_classes",
            data.target,
            f"both classes, at least {params.min_positives} labels of 1",
            known,
            learnable,
            advice=later,
            kind="labels",
        ),
    ]


def declared(data: DataParams) -> list[str]:
    """Columns that params.yaml names."""
    return [*data.key_columns, data.target, *data.protected]


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


def _each(name: str, of: str, failing: dict[str, str], expected: str, advice: str) -> list[Check]:
    """One failure a column, or one success for all columns."""
    if not failing:
        return [Check(name, None, expected, "all columns", True, advice=advice, kind=of)]
    return [Check(name, column, expected, found, False, advice=advice, kind=of) for column, found in failing.items()]


def _unique(table: pa.Table, data: DataParams, key: str) -> Check:
    groups = table.group_by([data.row_key] if data.row_key else data.key_columns).aggregate(
        [([], "count_all"), (data.target, "min"), (data.target, "max")]
    )
    conflicts = pc.sum(pc.not_equal(groups[f"{data.target}_min"], groups[f"{data.target}_max"])).as_py() or 0
    repeated = table.num_rows - groups.num_rows
    found = f"{repeated} rows repeat a key, {conflicts} keys with conflicting labels"
    advice = "Does a join in training_set.sql multiply rows?"
    if not data.time and not data.row_key:
        advice += " Where an entity has several rows, name the column that names a row as data.row_key."
    return Check("keys_unique", key, "each key once", found, not repeated, advice=advice, kind="duplicates")
