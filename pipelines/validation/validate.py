"""The gate before anything is learnt: are the extracted rows what the pipeline and their owner expect?

Two kinds of checks, one verdict: the pipeline's own (checks.py) and the owner's (expectations.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import page
from pipelines.config import stage
from pipelines.config.params import DataParams, Params, ValidateParams
from pipelines.page import Link, Table
from pipelines.validation import check_page, counting
from pipelines.validation.checks import (
    BOOLEAN,
    LOOK,
    NUMBER,
    TEXT,
    Check,
    Facts,
    Source,
    absent,
    check_columns,
    check_days,
    check_labels,
    check_shape,
    declared,
    kind,
    plain,
    survey,
)
from pipelines.validation.expectations import (
    SUPPORTED,
    Expectation,
    Result,
    line_of,
    sample,
)

OWNER_PAGE = "great_expectations.html"
MOST_SHOWN = 300  # results on it: a table of 1,000 columns has thousands


@dataclass(frozen=True)
class Judged:
    """All checks of some rows, but those that are left to Great Expectations.

    counted: the results of expectations that it has a page for. left: expectations that only it can judge, on `rows`.
    """

    checks: list[Check]
    total: int
    counted: list[tuple[Expectation, Result]]
    left: list[Expectation]
    rows: pa.Table | None


def shown(results: list[tuple[Expectation, Result]]) -> list[tuple[Expectation, Result]]:
    """Those that Great Expectations' page shows, in their order: what failed, and others up to MOST_SHOWN."""
    chosen = sorted(range(len(results)), key=lambda number: results[number][1].success)[:MOST_SHOWN]
    return [results[number] for number in sorted(chosen)]


def judge_rows(
    rows: Source, owned: list[Expectation], params: Params, described: dict[str, Any] | None = None, advice: str = LOOK
) -> Judged:
    """All checks but those that only Great Expectations can make: in bounded memory, and without its seconds.

    Args:
        described: the manifest, with the file's own SHA-256 as `digest`; without it the rows are taken as they are.
    """
    data, limits = params.data, params.validate_
    with stage.phase("read"):
        total, facts = survey(rows)
    checks = check_shape(total, facts, described, relied(owned, data), limits.min_rows)
    hidden = {*data.hidden, *params.features.exclude} - set(data.protected)
    checks += check_columns(total, {name: fact for name, fact in facts.items() if name not in hidden})
    if not total or absent(declared(data), facts):
        return Judged([*checks, *sort_out(owned, facts, advice, sampled=False)[1]], total, [], [], None)
    checks += check_days(rows, facts, data)
    with stage.phase("read"):
        keys = _read(rows, [*data.key_columns, data.target])
    checks += check_labels(keys, data, limits)
    fitting, unfit = sort_out(owned, facts, advice, sampled=total > limits.max_rows_checked)
    days = keys[data.time] if data.time and pa.types.is_temporal(keys[data.time].type) else None
    newest = pc.max(days).as_py() if days is not None else None
    drawn = sample(rows, columns_of(fitting, data.time), min(total, limits.max_rows_checked))
    results = _results(rows, drawn, fitting, data.time, newest, limits)
    checks += [line_of(item, results[number], advice, data.target) for number, item in enumerate(fitting) if number in results]
    checks += [_age(item, newest, data, advice) for item in fitting if item.type == "expect_column_newest_to_be_recent"]
    checks += [_type(item, facts, advice) for item in fitting if item.type == "expect_column_type_to_be"]
    counted = [(item, results[number]) for number, item in enumerate(fitting) if number in results]
    counted = [(item, result) for item, result in counted if not SUPPORTED[item.type].ours]
    left = [item for number, item in enumerate(fitting) if number not in results and not SUPPORTED[item.type].ours]
    return Judged(checks + unfit, total, counted, left, drawn)


def sort_out(
    owned: list[Expectation], facts: dict[str, Facts], advice: str, *, sampled: bool
) -> tuple[list[Expectation], list[Check]]:
    """Expectations that can be judged, and a failed check for each whose column is missing or of the wrong kind, or
    which a sample would judge wrongly."""
    fitting, unfit = [], []
    for item in owned:
        lost, needed = absent(item.columns, facts), SUPPORTED[item.type].needs
        wrong = [name for name in item.columns if needed and name in facts and kind(facts[name].type) != needed]
        if lost:
            unfit.append(
                Check(item.type, ", ".join(lost), item.expected, "column missing", False, item.severity, advice, "columns")
            )
        elif wrong:
            found = ", ".join(f"{kind(facts[name].type) or 'another type'} ({facts[name].type})" for name in wrong)
            unfit.append(Check(item.type, ", ".join(wrong), str(needed), found, False, item.severity, advice, "type"))
        elif sampled and SUPPORTED[item.type].of_all and item.type not in counting.COUNTED and not SUPPORTED[item.type].ours:
            more = "Raise validate.max_rows_checked above the number of rows, or take this expectation out."
            found = "a sample"
            unfit.append(Check(item.type, item.columns[0], "all rows to be judged", found, False, item.severity, more, "rows"))
        else:
            fitting.append(item)
    return fitting, unfit


def _results(
    rows: Source, drawn: pa.Table, owned: list[Expectation], time: str | None, newest: date | None, limits: ValidateParams
) -> dict[int, Result]:
    """What counting.py says, by the number of the expectation."""
    exact = {number: item for number, item in enumerate(owned) if item.type in counting.COUNTED}
    counts = counting.Counts(counting.COUNTED, list(exact.values()), time, newest, limits.min_newest_rows)
    found = dict(zip(exact, counts.judge(_batches(rows, columns_of(exact.values(), time))), strict=True))
    for number, item in enumerate(owned):
        if item.type in counting.SAMPLED:  # one after the other: each holds a column
            counts = counting.Counts(counting.SAMPLED, [item], time, newest, limits.min_newest_rows)
            (found[number],) = counts.judge(drawn.select(columns_of([item], time)).to_batches())
    return found


def _age(item: Expectation, newest: date | None, data: DataParams, advice: str) -> Check:
    """How far the newest snapshot is from the pin; rows of days after the pin are no news either."""
    if not isinstance(data.as_of, date) or newest is None:
        return line_of(item, Result(True, "no clock"), advice)
    age = (data.as_of - newest).days
    ahead = age < 0
    result = Result(0 <= age <= item.kwargs["max_days"], f"{abs(age)} days {'after' if ahead else 'before'} data.as_of")
    return line_of(item, result, advice, kind_found="future" if ahead else "stale")


def _type(item: Expectation, facts: dict[str, Facts], advice: str) -> Check:
    of = facts[item.columns[0]].type
    words = {"number": NUMBER, "text": TEXT, "boolean": BOOLEAN}
    found = Result(kind(of) == words.get(item.kwargs["type_"]), f"{kind(of) or 'another type'} ({of})")
    return line_of(item, found, advice)


def columns_of(owned: Iterable[Expectation], time: str | None = None) -> list[str]:
    return list(dict.fromkeys([*([time] if time else []), *(name for item in owned for name in item.columns)]))


def _batches(rows: Source, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(rows) as file:
        yield from file.iter_batches(columns=columns)


def _read(rows: Source, columns: list[str]) -> pa.Table:
    with pq.ParquetFile(rows) as file:
        return file.read(columns=columns)


def relied(owned: list[Expectation], data: DataParams) -> dict[str, str]:
    """Columns that params.yaml and the expectations name, each with the severity of its loss."""
    wished: dict[str, str] = {name: item.severity for item in owned for name in item.columns}
    vital = [name for item in owned if item.severity == "critical" for name in item.columns]
    return wished | dict.fromkeys([*vital, *declared(data)], "critical")


def conclude(
    checks: list[Check], total: int, sampled: int, owner_page: str, verdict: Path, docs: Path, account: dict[str, Any]
) -> None:
    """The verdict and its pages; Great Expectations' own beside ours.

    Args:
        sampled: rows of the sample, from which quantiles and what Great Expectations judges are.
        owner_page: Great Expectations' page of the results; "" where no expectation was judged.
        account: of the source's rows, as stage extract has it.

    Raises:
        EvergreenError: a critical check failed; all of them are listed.
    """
    if owner_page:
        stage.write_text(docs / OWNER_PAGE, offline(owner_page))
    else:
        (docs / OWNER_PAGE).unlink(missing_ok=True)  # of an earlier run: not about these rows
    said = [f"{total:,} rows, all counted; the newest snapshot by itself as well."]
    if 0 < sampled < total:  # 0 where a column that is needed is missing, and none was drawn
        said.append(f"Quantiles and the most frequent value are of a sample of {sampled:,}, drawn evenly over the file.")
    if not account:
        said.append("Rows that the query leaves out are not counted: the dataset has no left_out.sql.")
    links = [Link("Great Expectations' own page", OWNER_PAGE)] if owner_page else []
    above = check_page.Above(said, links, _where_rows_went(account, total))
    found = {"rows": total, "checked_rows": sampled, "source_rows": account}
    check_page.conclude("Validation", checks, found, above, verdict, docs)


def _where_rows_went(account: dict[str, Any], total: int) -> Table:
    """From the source's rows to those of the training set; a reason may hold a name of the source's."""
    if not account:
        return check_page.NO_ACCOUNT
    lines = [("in the source", account["source"])]
    lines += [(f"left out: {plain(reason)}", -rows) for reason, rows in account["left_out"].items()]
    lines += [("alike, counted as one", total - account["read"])] if total != account["read"] else []
    lines += [("in the training set", total)]
    return Table(("Rows", "Number"), [(what, page.number(rows, ",")) for what, rows in lines], ("Number",))


def offline(text: str) -> str:
    """A page of Data Docs that needs no network: its styles, scripts and pictures come from six foreign hosts."""
    text = re.sub(r"<(script|style|footer|title)\b.*?</\1>|<(link|img|meta)\b[^>]*>", "", text, flags=re.S)
    text = re.sub(r'href="[^"#]*index\.html"', 'href="index.html"', text)
    text = re.sub(r'<a\b[^>]*href="(?:\.\./|https?:)[^>]*>(.*?)</a>', r"\1", text, flags=re.S)
    trail = [("Evergreen", ""), ("Validation", "index.html"), ("Great Expectations", "")]
    return page.framed(text, "Great Expectations", trail, style=(page.HERE / "great_expectations.css").read_text("utf-8"))
