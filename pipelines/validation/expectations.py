"""What the owner expects of the extracted rows: sql/<dataset>/expectations.yaml, in the language of Great Expectations.

The one door to that library. It checks what an entry says, judges the types that counting.py does not count, and renders its
own page of all results.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.config.errors import EvergreenError
from pipelines.config.sections import Section
from pipelines.validation.checks import NUMBER, TEXT, Check, Source, plain

ALL, NEWEST = "all", "newest"  # parts of the rows that an expectation judges


@dataclass(frozen=True)
class Result:
    """Whether some rows are as expected, and what was seen in words: counts and numbers only. percent: of unexpected cells."""

    success: bool
    observed: str
    percent: float | None = None


@dataclass(frozen=True)
class SupportedExpectation:
    """A supported expectation. kind: of fault that it finds (checks.KINDS). needs: the kind of its columns. of_all: a sample
    would judge it wrongly. ours: the names of its kwargs, where Great Expectations does not have it."""

    kind: str
    needs: str | None = None
    of_all: bool = False
    ours: tuple[str, ...] = ()


# Those whose results are counts and numbers. The others of Great Expectations (distinct values, most common value, unexpected
# rows) would print cells of the data on their pages.
SUPPORTED: dict[str, SupportedExpectation] = {
    "expect_column_values_to_be_between": SupportedExpectation("range", NUMBER),
    "expect_column_min_to_be_between": SupportedExpectation("range", NUMBER),
    "expect_column_max_to_be_between": SupportedExpectation("range", NUMBER),
    "expect_column_mean_to_be_between": SupportedExpectation("level", NUMBER),
    "expect_column_median_to_be_between": SupportedExpectation("unit", NUMBER),
    # Great Expectations 1.24 has it too, and cannot write its result down: "bool is not JSON serializable"
    "expect_column_quantile_values_to_be_between": SupportedExpectation("unit", NUMBER, ours=("column", "quantile_ranges")),
    "expect_column_stdev_to_be_between": SupportedExpectation("level", NUMBER),
    "expect_column_sum_to_be_between": SupportedExpectation("level", NUMBER, of_all=True),
    "expect_column_pair_values_a_to_be_greater_than_b": SupportedExpectation("rule", NUMBER),
    "expect_column_value_lengths_to_be_between": SupportedExpectation("text", TEXT),
    "expect_column_values_to_match_regex": SupportedExpectation("text", TEXT),
    "expect_column_values_to_not_match_regex": SupportedExpectation("encoding", TEXT),
    "expect_column_values_to_be_in_set": SupportedExpectation("categories"),
    "expect_column_values_to_not_be_in_set": SupportedExpectation("categories"),
    "expect_column_values_to_not_be_null": SupportedExpectation("nulls"),
    "expect_column_values_to_be_null": SupportedExpectation("nulls"),
    "expect_column_proportion_of_non_null_values_to_be_between": SupportedExpectation("nulls"),
    "expect_column_values_to_be_unique": SupportedExpectation("duplicates", of_all=True),
    "expect_column_unique_value_count_to_be_between": SupportedExpectation("constant", of_all=True),
    "expect_column_proportion_of_unique_values_to_be_between": SupportedExpectation("constant", of_all=True),
    "expect_column_largest_share_to_be_at_most": SupportedExpectation("constant", ours=("column", "max_value")),
    "expect_column_type_to_be": SupportedExpectation("type", of_all=True, ours=("column", "type_")),
    "expect_column_newest_to_be_recent": SupportedExpectation("stale", of_all=True, ours=("column", "max_days")),
    "expect_table_row_count_to_be_between": SupportedExpectation("rows"),
}
COLUMN_KEYS = ("column", "column_A", "column_B")
NEEDED = ("regex", "value_set")  # kwargs of which Great Expectations has defaults that judge nothing
IGNORED = ("windows", "batch_id", "row_condition", "condition_parser")  # kwargs of which counting.py knows nothing
ENTRY = "- {type: expect_column_values_to_be_between, severity: critical, kwargs: {column: age, min_value: 0}}"


class Expectation(Section):
    """One entry of expectations.yaml; `kwargs` are those of Great Expectations.

    of: all rows, those of the newest snapshot, or both, each by itself. Without time all rows are meant.
    """

    type: str
    severity: Literal["critical", "warning"]
    kwargs: dict[str, Any]
    of: Literal["all", "newest", "both"] = "both"

    @property
    def columns(self) -> list[str]:
        return [str(self.kwargs[key]) for key in COLUMN_KEYS if key in self.kwargs]

    @property
    def parts(self) -> tuple[str, ...]:
        if SUPPORTED[self.type].of_all:
            return (ALL,)
        return (ALL, NEWEST) if self.of == "both" else (self.of,)

    @property
    def expected(self) -> str:
        return (
            ", ".join(f"{key} {value}" for key, value in self.kwargs.items() if key not in COLUMN_KEYS) or "all values to pass"
        )


class Expectations(Section):
    expectations: list[Expectation]


def line_of(item: Expectation, result: Result, advice: str, target: str = "", kind_found: str = "") -> Check:
    """The line of the verdict. Whatever is wrong with the target's column is wrong with the labels."""
    found = kind_found or SUPPORTED[item.type].kind
    what = "labels" if target in item.columns else found
    column = ", ".join(item.columns) or None
    return Check(item.type, column, item.expected, result.observed, result.success, item.severity, advice, what)


def read_expectations(path: Path) -> list[Expectation]:
    """Entries of expectations.yaml.

    Raises:
        EvergreenError: no YAML, an unknown key, type or severity, kwargs that are not those of the type, or an entry without
            a column; each is named.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        loaded = YAML(typ="safe").load(path)
        if not isinstance(loaded, dict) or not isinstance(loaded.get("expectations"), list):
            raise EvergreenError(f"{path} is not usable: it begins with `expectations:`, and lists entries such as\n  {ENTRY}")
        entries = Expectations.model_validate(loaded).expectations
    except FileNotFoundError:
        raise EvergreenError(f"{path} is missing: `evergreen data expectations --force` proposes one.") from None
    except YAMLError as error:
        raise EvergreenError(f"{path} cannot be read as YAML: {error}") from None
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)]
        raise EvergreenError("\n".join([f"{path} is not usable:", *lines, f"An entry is such as\n  {ENTRY}"])) from None
    refused: dict[tuple[Any, ...], str] = {}
    if lines := [f"  expectations.{number} {said}" for number, entry in enumerate(entries) for said in _faults(entry, refused)]:
        raise EvergreenError("\n".join([f"{path} is not usable; correct these entries (the first is number 0):", *lines]))
    return entries


def _faults(entry: Expectation, refused: dict[tuple[Any, ...], str]) -> Iterator[str]:
    """What is wrong with an entry's type or kwargs, in words. refused: what is known of kwargs of the same kinds."""
    if entry.type not in SUPPORTED:
        near = difflib.get_close_matches(entry.type, SUPPORTED, 3) or list(SUPPORTED)
        yield f"has the unknown type {entry.type!r}. Offered: {', '.join(near)}."
        return
    name = f"({', '.join([entry.type, *entry.columns])})"
    if not entry.columns and "table" not in entry.type:
        yield f"{name} names no column: give kwargs a column."
        return
    if ours := SUPPORTED[entry.type].ours:
        if strange := sorted(set(entry.kwargs) ^ set(ours)):
            yield f"{name} takes {', '.join(ours)}: {', '.join(strange)}?"
        return
    low, high = entry.kwargs.get("min_value"), entry.kwargs.get("max_value")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        yield f"{name} has min_value {low}, which is above max_value {high}: no value would pass."
    of_value = ("mostly", "regex")
    kinds = (entry.type, *((key, repr(value) if key in of_value else type(value)) for key, value in entry.kwargs.items()))
    if kinds not in refused:  # of thousands of entries a few dozen differ
        refused[kinds] = _refused(entry)
    if refused[kinds]:
        yield f"{name} {refused[kinds]}"


def _refused(entry: Expectation) -> str:
    """What Great Expectations has against the kwargs, which it takes, and what it leaves for the counting to find out."""
    from great_expectations.expectations.expectation import Expectation as Anything
    from great_expectations.expectations.registry import get_expectation_impl

    judged = get_expectation_impl(entry.type)
    taken = [key for key in judged.__fields__ if key not in Anything.__fields__ and key not in IGNORED]
    if strange := [key for key in entry.kwargs if key not in taken]:
        return f"does not take {', '.join(strange)}. It takes {', '.join(taken)}."
    if lacking := [key for key in NEEDED if key in taken and key not in entry.kwargs]:
        return f"lacks {', '.join(lacking)}."
    try:
        judged(severity=entry.severity, **entry.kwargs)
        re.compile(entry.kwargs.get("regex", ""))
    except re.error as error:
        return f"has a regex that cannot be read: {error}."
    except (TypeError, ValueError) as error:  # pydantic's, of which a value that may be of several types has several
        told = {item["loc"][0]: item["msg"] for item in reversed(error.errors())} if hasattr(error, "errors") else {"": error}
        told = {key: said for key, said in told.items() if key != "__root__" or len(told) == 1}  # what follows from others
        return "; ".join(f"{key}: {said}" if key not in {"", "__root__"} else f"{said}" for key, said in told.items()) + "."
    return ""


def sample(rows: Source, columns: list[str], most: int) -> pa.Table:
    """At most `most` rows, spread over the whole file; the same ones each time, in bounded memory.

    Drawn at random within each batch: every n-th row would meet one snapshot of each customer only.
    """
    random, parts, seen, taken = np.random.default_rng(0), [], 0, 0
    with pq.ParquetFile(rows) as file:
        total = file.metadata.num_rows
        for batch in file.iter_batches(columns=columns):
            seen += batch.num_rows
            quota = min(seen, seen * most // total) - taken
            taken += quota
            parts.append(batch.take(pa.array(np.sort(random.choice(batch.num_rows, quota, replace=False)))))
    return pa.Table.from_batches(parts)


def ask_great_expectations(rows: pd.DataFrame, expectations: list[Expectation]) -> list[Result]:
    """Great Expectations' results, in the order of `expectations`."""
    import great_expectations as gx

    names = _names(expectations)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("extract").add_dataframe_asset("rows")
    batch = source.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": rows.rename(columns=names)})
    suite = gx.ExpectationSuite("expectations", expectations=_suite(expectations, names))
    # counts, no cells
    outcome = batch.validate(suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": 0})
    found = {item.expectation_config.meta["entry"]: item for item in outcome.results}
    answers = [found[number] for number in range(len(expectations))]
    return [Result(bool(answer.success), observed(answer.result)) for answer in answers]


def data_docs(judged: list[tuple[Expectation, Result]]) -> str:
    """Great Expectations' own page of results, whoever counted them, as HTML."""
    import great_expectations as gx
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    expectations = [item for item, _ in judged]
    results = [
        ExpectationValidationResult(
            success=result.success,
            expectation_config=rule.configuration,
            result={"observed_value": result.observed, "unexpected_percent": result.percent},
        )
        for rule, (_, result) in zip(_suite(expectations, _names(expectations)), judged, strict=True)
    ]
    passed = sum(result.success for result in results)
    outcome = ExpectationSuiteValidationResult(
        success=passed == len(results),
        results=results,
        suite_name="expectations",
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(results) - passed,
            "success_percent": 100 * passed / max(len(results), 1),
        },
        meta={
            "run_id": gx.core.RunIdentifier(run_name="validate"),
            "great_expectations_version": gx.__version__,
            "active_batch_definition": {},
        },
    )
    return DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(outcome))


def _names(expectations: list[Expectation]) -> dict[str, str]:
    """Columns -> what Great Expectations knows them by: without markup, and each by another name."""
    columns = dict.fromkeys(name for item in expectations for name in item.columns)
    return {name: f"{plain(name)}{'' if plain(name) == name else f' {number}'}" for number, name in enumerate(columns)}


def observed(result: dict[str, Any]) -> str:
    """A result in words: counts and numbers only."""
    if result.get("unexpected_count") is not None:
        return (
            f"{result['unexpected_count']} of {result['element_count']} unexpected ({result['unexpected_percent'] or 0:.4g}%)"
        )
    value = result.get("observed_value")
    return f"{value:.6g}" if isinstance(value, int | float | np.number) else "that it cannot be computed"


def _suite(expectations: list[Expectation], names: dict[str, str]) -> list[Any]:
    """Great Expectations' objects, on renamed columns; `meta` holds the position, as results come in another order."""
    from great_expectations.expectations.registry import get_expectation_impl

    suite = []
    for number, item in enumerate(expectations):
        kwargs = {key: names[value] if key in COLUMN_KEYS else value for key, value in item.kwargs.items()}
        suite.append(get_expectation_impl(item.type)(severity=item.severity, meta={"entry": number}, **kwargs))
    return suite
