"""What the owner expects of the extracted rows: sql/<dataset>/expectations.yaml, judged by Great Expectations.

The one door to that library. It sees a sample where there are more rows than memory should hold; counting.py, which sees all of
them, then decides.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.config.errors import EvergreenError
from pipelines.config.params import Section
from pipelines.validation import counting
from pipelines.validation.checks import NUMBER, TEXT, Check, Facts, Source, absent, kind, plain
from pipelines.validation.counting import ALL, NEWEST, Result


@dataclass(frozen=True)
class Offer:
    """An expectation on offer. kind: of fault that it finds (checks.KINDS). needs: the kind of its columns. of_all: a sample
    would judge it wrongly. ours: the names of its kwargs, where Great Expectations does not have it."""

    kind: str
    needs: str | None = None
    of_all: bool = False
    ours: tuple[str, ...] = ()


# Those whose results are counts and numbers. The others of Great Expectations (distinct values, most common value, unexpected
# rows) would print cells of the data on their pages.
OFFERED: dict[str, Offer] = {
    "expect_column_values_to_be_between": Offer("range", NUMBER),
    "expect_column_min_to_be_between": Offer("range", NUMBER),
    "expect_column_max_to_be_between": Offer("range", NUMBER),
    "expect_column_mean_to_be_between": Offer("level", NUMBER),
    "expect_column_median_to_be_between": Offer("unit", NUMBER),
    # Great Expectations 1.24 has it too, and cannot write its result down: "bool is not JSON serializable"
    "expect_column_quantile_values_to_be_between": Offer("unit", NUMBER, ours=("column", "quantile_ranges")),
    "expect_column_stdev_to_be_between": Offer("level", NUMBER),
    "expect_column_sum_to_be_between": Offer("level", NUMBER, of_all=True),
    "expect_column_pair_values_a_to_be_greater_than_b": Offer("rule", NUMBER),
    "expect_column_value_lengths_to_be_between": Offer("text", TEXT),
    "expect_column_values_to_match_regex": Offer("text", TEXT),
    "expect_column_values_to_not_match_regex": Offer("encoding", TEXT),
    "expect_column_values_to_be_in_set": Offer("categories"),
    "expect_column_values_to_not_be_in_set": Offer("categories"),
    "expect_column_values_to_not_be_null": Offer("nulls"),
    "expect_column_values_to_be_null": Offer("nulls"),
    "expect_column_proportion_of_non_null_values_to_be_between": Offer("nulls"),
    "expect_column_values_to_be_unique": Offer("duplicates", of_all=True),
    "expect_column_unique_value_count_to_be_between": Offer("constant", of_all=True),
    "expect_column_proportion_of_unique_values_to_be_between": Offer("constant", of_all=True),
    "expect_column_largest_share_to_be_at_most": Offer("constant", ours=("column", "max_value")),
    "expect_column_type_to_be": Offer("type", of_all=True, ours=("column", "type_")),
    "expect_column_newest_to_be_recent": Offer("stale", of_all=True, ours=("column", "max_days")),
    "expect_table_row_count_to_be_between": Offer("rows"),
}
COLUMN_KEYS = ("column", "column_A", "column_B")


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
        if OFFERED[self.type].of_all:
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
    found = kind_found or OFFERED[item.type].kind
    what = "labels" if target in item.columns else found
    column = ", ".join(item.columns) or None
    return Check(item.type, column, item.expected, result.observed, result.success, item.severity, advice, what)


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
        offer = OFFERED[entry.type]
        if offer.ours and (strange := set(entry.kwargs) ^ set(offer.ours)):
            raise EvergreenError(
                f"{path}: expectations.{number} ({entry.type}) takes {', '.join(offer.ours)}: {', '.join(strange)}?"
            )
        if not entry.columns and "table" not in entry.type:
            raise EvergreenError(f"{path}: expectations.{number} ({entry.type}) names no column: give kwargs a column.")
    return entries


def sort_out(
    owned: list[Expectation], facts: dict[str, Facts], advice: str, *, sampled: bool
) -> tuple[list[Expectation], list[Check]]:
    """Expectations that can be judged, and a failed check for each whose column is missing or of the wrong kind, or
    which a sample would judge wrongly."""
    fitting, unfit = [], []
    for item in owned:
        lost, needed = absent(item.columns, facts), OFFERED[item.type].needs
        wrong = [name for name in item.columns if needed and name in facts and kind(facts[name].type) != needed]
        if lost:
            unfit.append(
                Check(item.type, ", ".join(lost), item.expected, "column missing", False, item.severity, advice, "columns")
            )
        elif wrong:
            found = ", ".join(f"{kind(facts[name].type) or 'another type'} ({facts[name].type})" for name in wrong)
            unfit.append(Check(item.type, ", ".join(wrong), str(needed), found, False, item.severity, advice, "type"))
        elif sampled and OFFERED[item.type].of_all and item.type not in counting.COUNTED and not OFFERED[item.type].ours:
            more = "Raise validate.max_rows_checked above the number of rows, or take this expectation out."
            found = "a sample"
            unfit.append(Check(item.type, item.columns[0], "all rows to be judged", found, False, item.severity, more, "rows"))
        else:
            fitting.append(item)
    return fitting, unfit


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


def ask_great_expectations(rows: pd.DataFrame, expectations: list[Expectation], advice: str) -> tuple[list[Result], str]:
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
    (outcome,) = result.run_results.values()
    found = {item.expectation_config.meta["entry"]: item for item in outcome.results}
    answers = [found[number] for number in range(len(expectations))]
    return [Result(bool(one.success), observed(one.result)) for one in answers], page


def observed(result: dict[str, Any]) -> str:
    """A result in words: counts and numbers only."""
    if result.get("unexpected_count") is not None:
        return (
            f"{result['unexpected_count']} of {result['element_count']} unexpected ({result['unexpected_percent'] or 0:.4g}%)"
        )
    value = result.get("observed_value")
    return f"{value:.6g}" if isinstance(value, int | float | np.number) else "that it cannot be computed"


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
