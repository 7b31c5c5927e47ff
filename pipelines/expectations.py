"""What the owner expects of the extracted rows: sql/<dataset>/expectations.yaml, judged by Great Expectations.

The one door to that library. It sees a sample where there are more rows than memory should hold.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.checks import NUMBER, TEXT, Check, Facts, absent, kind, plain
from pipelines.errors import EvergreenError
from pipelines.params import Section

# The expectations on offer, and the kind of column that each needs: those whose results are counts and numbers. The
# others (distinct values, most common value, unexpected rows) would print cells of the data on their pages.
OFFERED: dict[str, str | None] = {
    **{f"expect_column_{what}_to_be_between": NUMBER for what in ("values", "min", "max", "mean", "median", "stdev", "sum")},
    "expect_column_pair_values_a_to_be_greater_than_b": NUMBER,
    "expect_column_value_lengths_to_be_between": TEXT,
    "expect_column_values_to_match_regex": TEXT,
    "expect_column_values_to_not_match_regex": TEXT,
    "expect_column_values_to_be_in_set": None,
    "expect_column_values_to_not_be_in_set": None,
    "expect_column_values_to_not_be_null": None,
    "expect_column_values_to_be_null": None,
    "expect_column_values_to_be_unique": None,
    "expect_column_unique_value_count_to_be_between": None,
    "expect_column_proportion_of_unique_values_to_be_between": None,
    "expect_column_proportion_of_non_null_values_to_be_between": None,
}
# What a sample says nothing about: a sum of some rows is not that of all, and a value may stand once in a sample only.
OF_ALL_ROWS = {
    "expect_column_sum_to_be_between",
    "expect_column_values_to_be_unique",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
}
COLUMN_KEYS = ("column", "column_A", "column_B")


class Expectation(Section):
    """One entry of expectations.yaml; `kwargs` are those of Great Expectations."""

    type: str
    severity: Literal["critical", "warning"]
    kwargs: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        return [str(self.kwargs[key]) for key in COLUMN_KEYS if key in self.kwargs]

    @property
    def expected(self) -> str:
        return (
            ", ".join(f"{key} {value}" for key, value in self.kwargs.items() if key not in COLUMN_KEYS) or "all values to pass"
        )


class Expectations(Section):
    expectations: list[Expectation]


def read_expectations(path: Path) -> list[Expectation]:
    """Entries of expectations.yaml.

    Raises:
        EvergreenError: no YAML, an unknown key, type or severity, or an entry without a column; each is named.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        entries = Expectations.model_validate(YAML(typ="safe").load(path)).expectations
    except (FileNotFoundError, YAMLError) as error:
        raise EvergreenError(f"{path} cannot be read as YAML: {error}") from None
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)]
        raise EvergreenError("\n".join([f"{path} is not usable:", *lines])) from None
    for number, entry in enumerate(entries):
        if entry.type not in OFFERED:
            offered = "\n  ".join(OFFERED)
            raise EvergreenError(f"{path}: expectations.{number} has the unknown type {entry.type!r}. Offered:\n  {offered}")
        if not entry.columns:
            raise EvergreenError(f"{path}: expectations.{number} ({entry.type}) names no column: give kwargs a column.")
    return entries


def sort_out(
    owned: list[Expectation], facts: dict[str, Facts], advice: str, *, sampled: bool
) -> tuple[list[Expectation], list[Check]]:
    """Expectations that can be judged, and a failed check for each whose column is missing or of the wrong kind, or
    which a sample would judge wrongly."""
    fitting, unfit = [], []
    for item in owned:
        lost, needed = absent(item.columns, facts), OFFERED[item.type]
        wrong = [name for name in item.columns if needed and name in facts and kind(facts[name].type) != needed]
        if lost:
            unfit.append(Check(item.type, ", ".join(lost), item.expected, "column missing", False, item.severity, advice))
        elif wrong:
            found = ", ".join(f"{kind(facts[name].type) or 'another type'} ({facts[name].type})" for name in wrong)
            unfit.append(Check(item.type, ", ".join(wrong), str(needed), found, False, item.severity, advice))
        elif sampled and item.type in OF_ALL_ROWS:
            more = "Raise validate.max_rows_checked above the number of rows, or take this expectation out."
            unfit.append(Check(item.type, item.columns[0], "all rows to be judged", "a sample", False, item.severity, more))
        else:
            fitting.append(item)
    return fitting, unfit


def sample(rows: Path, columns: list[str], most: int) -> pd.DataFrame:
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
    return pa.Table.from_batches(parts).to_pandas()


def judge(rows: pd.DataFrame, expectations: list[Expectation], advice: str) -> tuple[list[Check], str]:
    """Great Expectations' results, in the order of `expectations`, and its Data Docs page of them as HTML.

    Raises:
        EvergreenError: an expectation's kwargs are not those of its type.
    """
    import great_expectations as gx

    names = {name: f"{plain(name)}{'' if plain(name) == name else f' {number}'}" for number, name in enumerate(rows)}
    with tempfile.TemporaryDirectory() as folder:
        context = gx.get_context(mode="file", project_root_dir=folder)
        context.variables.progress_bars = {"globally": False}
        source = context.data_sources.add_pandas("extract").add_dataframe_asset("rows")
        suite = gx.ExpectationSuite("expectations", expectations=_suite(expectations, names, advice))
        definition = gx.ValidationDefinition(
            name="rows", data=source.add_batch_definition_whole_dataframe("rows"), suite=context.suites.add(suite)
        )
        checkpoint = gx.Checkpoint(
            name="validate",
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs")],
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": 0},  # counts, no cells
        )
        result = context.checkpoints.add(checkpoint).run({"dataframe": rows.rename(columns=names)})
        page = next((Path(folder) / "gx/uncommitted/data_docs/local_site/validations").rglob("*.html")).read_text("utf-8")
    return _checks(expectations, result, advice), page


def observed(result: dict[str, Any]) -> str:
    """A result in words: counts and numbers only."""
    if result.get("unexpected_count") is not None:
        return (
            f"{result['unexpected_count']} of {result['element_count']} unexpected ({result['unexpected_percent'] or 0:.4g}%)"
        )
    value = result.get("observed_value")
    return f"{value:.6g}" if isinstance(value, int | float | np.number) else "that it cannot be computed"


def _checks(expectations: list[Expectation], result: Any, advice: str) -> list[Check]:
    (outcome,) = result.run_results.values()
    found = {item.expectation_config.meta["entry"]: item for item in outcome.results}
    return [
        Check(
            item.type,
            ", ".join(item.columns),
            item.expected,
            observed(found[n].result),
            bool(found[n].success),
            item.severity,
            advice,
        )
        for n, item in enumerate(expectations)
    ]


def _suite(expectations: list[Expectation], names: dict[str, str], advice: str) -> list[Any]:
    """Great Expectations' objects, on renamed columns; `meta` holds the position, as results come in another order."""
    from great_expectations.expectations.registry import get_expectation_impl

    suite = []
    for number, item in enumerate(expectations):
        kwargs = {key: names[value] if key in COLUMN_KEYS else value for key, value in item.kwargs.items()}
        try:
            suite.append(get_expectation_impl(item.type)(severity=item.severity, meta={"entry": number}, **kwargs))
        except (TypeError, ValueError) as error:
            raise EvergreenError(f"{item.type} [{', '.join(item.columns)}] has unusable kwargs: {error}. {advice}") from None
    return suite
