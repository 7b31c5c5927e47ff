"""The gate in front of training: what turns it red, what it then says, and what never appears on its pages."""

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from pipelines.stages import validate as validate_stage
from pipelines.validation import checks, validate
from pipelines.validation import expectations as owned

PARAMS = Path(__file__).parents[2] / "params.yaml"
ROWS = 40


def good(**changed) -> pa.Table:
    """40 rows of 20 customers at two snapshots, every fifth a churner; `None` drops a column."""
    columns = {
        "customer_id": [f"customer {row // 2}" for row in range(ROWS)],
        "snapshot_date": [datetime.date(2025, 1 + row % 2, 1) for row in range(ROWS)],
        "churned": pa.array([int(row % 5 == 0) for row in range(ROWS)], pa.int32()),
        "gender": ["f", "m"] * (ROWS // 2),
        "age": [None, *range(21, 20 + ROWS)],
        "plan": ["month", "year"] * (ROWS // 2),
    }
    return pa.table({name: cells for name, cells in (columns | changed).items() if cells is not None})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Validate a table in a project folder of its own; returns the verdict, or raises as the stage does."""
    monkeypatch.chdir(tmp_path)

    def run(
        table: pa.Table, expectations: list | None = None, manifest_rows: int | None = None, digest: str = "",
        left_out: dict | None = None, **limits
    ) -> dict:  # fmt: skip
        values = YAML(typ="safe").load(PARAMS)
        values["data"] |= {"entity": "customer_id", "time": "snapshot_date", "target": "churned", "protected": ["gender"]}
        values["features"]["exclude"] = ["gender"]
        values["validate"] |= {"min_rows": 10, "min_positives": 5, "max_rows_checked": 1000} | limits
        YAML().dump(values, Path("params.yaml"))
        YAML().dump({"expectations": expectations or []}, Path("expectations.yaml"))
        pq.write_table(table, "rows.parquet", row_group_size=7)
        types = {field.name: str(field.type) for field in table.schema}
        rows = table.num_rows if manifest_rows is None else manifest_rows
        Path("manifest.json").write_text(
            json.dumps({"rows": rows, "columns": types, "rows_sha256": digest or stage.sha256(Path("rows.parquet"))})
        )
        Path("left_out.json").write_text(json.dumps(left_out or {}))
        names = {
            "rows": "rows.parquet", "manifest": "manifest.json", "left_out": "left_out.json",
            "expectations": "expectations.yaml",
        }  # fmt: skip
        validate_stage.main(**{k: Path(v) for k, v in names.items()}, verdict=Path("verdict.json"), docs=Path("docs"))
        return json.loads(Path("verdict.json").read_text())

    return run


def expect(kind: str, severity: str = "critical", **kwargs) -> dict:
    return {"type": f"expect_{kind}", "severity": severity, "kwargs": kwargs}


def test_good_rows_pass(run):
    verdict = run(good())

    assert verdict["success"]
    assert verdict["rows"] == ROWS
    assert all(check["success"] for check in verdict["checks"])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        pytest.param(good().slice(0, 0), "0 rows, at least 10 needed", id="empty table"),
        pytest.param(good().slice(0, 9), "9 rows, at least 10 needed", id="too few rows"),
        pytest.param(good(gender=None, sex=["f"] * ROWS), "missing: gender; unexpected: age, plan, sex", id="renamed"),
        pytest.param(good(churned=[0] * ROWS), "labels are all 0", id="one class, 0"),
        pytest.param(good(churned=[1] * ROWS), "labels are all 1", id="one class, 1"),
        pytest.param(good(churned=[1] * 4 + [0] * 36), "found 4 labels of 1, 36 of 0", id="too few positives"),
        pytest.param(
            good(churned=[2, None] + [1, 0] * 19),
            "found 1 of a value that is none of the two, 1 NULL",
            id="labels of another value",
        ),
        pytest.param(good(churned=["yes", "no"] * 20), "an integer, 0 or 1, found text (string)", id="text labels"),
        pytest.param(good(customer_id=[None, *"a" * 39]), "keys_present [customer_id, snapshot_date]", id="NULL key"),
        pytest.param(good(age=[1.0, float("inf"), float("nan")] + [None] * 37), "[age]: expected finite", id="not finite"),
        pytest.param(good(age=pa.nulls(ROWS, pa.int64())), "[age]: expected some values, found 40 of 40 NULL", id="all NULL"),
        pytest.param(good(plan=["x" * 10_001] * ROWS), "[plan]: expected at most 10000 characters", id="long text"),
        pytest.param(
            good(plan=[datetime.date(2025, 1, 1)] * ROWS), "found date32[day]. Cast it in training_set.sql", id="date"
        ),
    ],
)
def test_unusable_rows_stop_the_stage_and_the_report_is_there(run, table, said):
    with pytest.raises(EvergreenError) as error:
        run(table)

    assert said in str(error.value)
    assert not json.loads(Path("verdict.json").read_text())["success"]
    assert "<title>Validation failed</title>" in Path("docs/index.html").read_text()


def test_days_after_the_snapshot_are_counted_and_a_few_mistyped_ones_are_not_news(run):
    day, later = datetime.date(2025, 1, 1), datetime.date(2025, 6, 1)
    table = good(left_on=[later if row % 4 == 0 else day for row in range(ROWS)])
    with pytest.raises(
        EvergreenError, match=r"not_after_snapshot \[left_on\]: expected no day after snapshot_date, found 10 of 40"
    ):
        run(table)
    with pytest.raises(EvergreenError) as error:  # as its type cannot be learnt from, but its days are known in time
        run(good(left_on=[day] * ROWS))
    assert "not_after_snapshot" not in str(error.value)


def test_duplicate_keys_are_counted_and_so_are_conflicting_labels(run):
    first = good()
    again = first.slice(0, 3).set_column(2, "churned", pa.array([1, 1, 0], pa.int32()))  # rows 0 to 2 are 1, 0, 0

    with pytest.raises(EvergreenError, match="3 rows repeat a key, 1 keys with conflicting labels"):
        run(pa.concat_tables([first, again]))


def test_another_file_than_the_manifest_describes_is_refused(run):
    with pytest.raises(EvergreenError, match=r"expected 41 rows and 6 columns, found 40 rows and 6 columns.*run extract"):
        run(good(), manifest_rows=41)
    with pytest.raises(EvergreenError, match="found 40 rows and 6 columns, another content"):
        run(good(), digest="0" * 64)


def test_an_excluded_column_may_be_of_any_type(run):
    assert run(good(gender=[True, None] * 20))["success"]


def test_text_in_a_numeric_column_names_both_types(run):
    with pytest.raises(EvergreenError, match=r"\[age\]: expected a number, found text \(string\)"):
        run(good(age=["old"] * ROWS), [expect("column_values_to_be_between", column="age", min_value=0)])


def test_an_expectation_on_a_missing_column_fails_and_names_it(run):
    with pytest.raises(EvergreenError, match=r"not_be_null \[plan\].*found column missing") as error:
        run(good(plan=None, tariff=["a"] * ROWS), [expect("column_values_to_not_be_null", column="plan")])

    assert "missing: plan; unexpected: age, tariff" in str(error.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (expect("column_values_to_be_nice", column="age"), "unknown type 'expect_column_values_to_be_nice'"),
        (expect("column_values_to_not_be_null"), "names no column"),
        (expect("column_values_to_not_be_null", "fatal", column="age"), "expectations.0.severity"),
        (expect("column_values_to_not_be_null", column="age") | {"colum": "age"}, "expectations.0.colum"),
        (expect("column_values_to_be_between", column="age", min_value="x"), "age) min_value: value is not a valid float."),
        (
            expect("column_values_to_be_between", column="age", min_value=9, max_value=3),
            "min_value 9, which is above max_value 3",
        ),
        (expect("column_values_to_be_between", column="age"), "min_value and max_value cannot both be None."),
        (expect("column_values_to_be_between", column="age", min=0), "does not take min. It takes column, mostly, min_value"),
        (expect("column_values_to_match_regex", column="plan", regex="("), "has a regex that cannot be read"),
        (expect("column_values_to_match_regex", column="plan"), "lacks regex."),
        (expect("column_values_to_be_in_set", column="plan", value_set="year"), "value_set: value is not a valid list."),
    ],
)
def test_a_wrong_entry_of_the_expectations_is_named(run, entry, said):
    with pytest.raises(EvergreenError) as error:
        run(good(), [entry])

    assert said in str(error.value)
    assert "validation error" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "expectations: age", "other: []"])
def test_a_file_that_lists_no_expectations_shows_what_one_is(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(EvergreenError, match=r"begins with `expectations:`, and lists entries such as\n  - \{type: "):
        owned.read_expectations(tmp_path / "mine.yaml")
    with pytest.raises(EvergreenError, match=r"none\.yaml is missing: `evergreen data expectations --force`"):
        owned.read_expectations(tmp_path / "none.yaml")


def test_every_wrong_entry_is_named_at_once(run):
    wrong = [expect("column_values_to_be_between", column="age"), expect("column_values_to_not_be_null", column="age", most=1)]
    with pytest.raises(EvergreenError, match=r"(?s)expectations\.0 .*expectations\.1 "):
        run(good(), wrong)


def test_unknown_kwargs_are_named(run):
    with pytest.raises(EvergreenError, match="min_valu"):
        run(good(), [expect("column_values_to_be_between", column="age", min_valu=0)])


def test_expectations_are_judged_by_severity(run, capsys):
    warning = expect("column_mean_to_be_between", "warning", column="age", max_value=30)
    verdict = run(good(), [expect("column_values_to_be_in_set", column="plan", value_set=["month", "year"]), warning])

    passed, failed = verdict["checks"][-2:]
    assert verdict["success"]
    assert passed["success"]
    assert (failed["success"], failed["column"], failed["expected"], failed["observed"]) == (False, "age", "max_value 30", "40")
    assert "WARNING: expect_column_mean_to_be_between [age]" in capsys.readouterr().out


def test_no_cell_and_no_markup_reaches_verdict_pages_or_error(run):
    name = "<u><script>alert(1)</script></u>"
    cells = [f"{name} canary {row}" for row in range(ROWS)]
    table = good(plan=cells, customer_id=[f"canary {row // 2}" for row in range(ROWS)], **{name: cells})
    expectations = [
        expect("column_values_to_be_in_set", column="plan", value_set=["month"]),
        expect("column_values_to_match_regex", column="customer_id", regex="^c[0-9]"),
        expect("column_values_to_be_unique", column="customer_id"),
        expect("column_value_lengths_to_be_between", column=name, max_value=3),
        expect("column_unique_value_count_to_be_between", column=name, max_value=3),
        expect("column_values_to_be_null", "warning", column="plan"),
    ]

    with pytest.raises(EvergreenError, match=r"be_in_set \[plan\]: expected value_set .*, found 40 of 40 unexpected") as error:
        run(table, expectations)

    pages = [path.read_text() for path in Path("docs").iterdir()]
    assert len(pages) == 2
    for text in [*pages, str(error.value), Path("verdict.json").read_text()]:
        assert "canary" not in text
    for page in pages:
        assert "<script" not in page
        assert "<u>" not in page
        assert "http" not in page.replace("http-equiv", "")
    assert not any(
        "cannot be computed" in check["observed"] for check in json.loads(Path("verdict.json").read_text())["checks"]
    )
    assert "values must belong to this set" in Path("docs/great_expectations.html").read_text()


def test_two_runs_write_the_same_verdict(run):
    expectations = [expect("column_mean_to_be_between", column="age", max_value=99)]
    verdict = run(good(), expectations)
    first = Path("verdict.json").read_bytes()

    assert run(good(), expectations) == verdict
    assert Path("verdict.json").read_bytes() == first


def test_the_sample_is_bounded_and_meets_every_snapshot(tmp_path):
    rows = pa.table({"row": range(12_000), "snapshot": [row % 12 for row in range(12_000)]})
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=1000)

    drawn = owned.sample(tmp_path / "rows.parquet", ["row", "snapshot"], 1000).to_pandas()

    assert len(drawn) == 1000
    assert drawn["snapshot"].nunique() == 12
    assert drawn["row"].is_unique
    assert drawn.equals(owned.sample(tmp_path / "rows.parquet", ["row", "snapshot"], 1000).to_pandas())


def test_a_sample_is_stated(run):
    table = pa.concat_tables([good(customer_id=[f"{part} {row // 2}" for row in range(ROWS)]) for part in range(30)])
    verdict = run(table, [expect("column_values_to_not_be_null", column="plan")])

    assert (verdict["rows"], verdict["checked_rows"]) == (1200, 1000)
    assert verdict["checks"][-1]["observed"] == "0 of 1200 unexpected (0%)"
    assert "a sample of 1,000" in Path("docs/index.html").read_text()


def test_no_sample_is_spoken_of_where_none_was_drawn(run):
    with pytest.raises(EvergreenError, match="churned"):
        run(good(churned=None))
    assert "sample" not in Path("docs/index.html").read_text()


def test_great_expectations_page_says_what_was_counted(run):
    """Also of the newest snapshot alone, which its engine does not look at."""
    young = good(age=[5.0 if row % 2 else 30.0 for row in range(ROWS)])
    entry = expect("column_values_to_be_between", "warning", column="age", min_value=10, mostly=0.4)
    verdict = run(young, [entry, expect("column_values_to_be_unique", "warning", column="plan")], min_newest_rows=10)
    counted, left = verdict["checks"][-2:]
    assert (counted["success"], counted["observed"]) == (False, "20 of 20 unexpected (100%) in the newest snapshot")
    assert (left["success"], left["observed"]) == (False, "40 of 40 unexpected (100%)")
    page = Path("docs/great_expectations.html").read_text()
    assert counted["observed"] in page and left["observed"] in page


def test_what_a_sample_cannot_show_is_not_judged_on_one(run):
    many = pa.concat_tables([good(customer_id=[f"{block} {row // 2}" for row in range(ROWS)]) for block in range(26)])
    unique = expect("column_values_to_be_unique", column="age")
    with pytest.raises(EvergreenError, match=r"be_unique \[age\]: expected all rows to be judged, found a sample"):
        run(many, [unique])


def test_a_rows_own_key_comes_once_and_its_entity_may_come_again():
    config = params.read(PARAMS)
    named = {"entity": "customer", "row_key": "visit", "time": None, "target": "left"}
    data = config.data.model_copy(update=named)

    def unique(rows: pa.Table, data) -> checks.Check:
        return next(one for one in checks.check_labels(rows, data, config.validate_) if one.type == "keys_unique")

    rows = pa.table({"customer": ["a", "a", "b"], "visit": [1, 2, 3], "left": [0, 1, 0]})
    assert unique(rows, data).success
    assert not unique(rows.set_column(1, "visit", pa.array([1, 2, 2])), data).success
    told = unique(rows, data.model_copy(update={"row_key": None}))
    assert not told.success and "data.row_key" in told.advice


def test_where_the_sources_rows_went_adds_up_on_the_page(run):
    account = {"source": 60, "left_out": {"no label in <Churn>": 12, "no id": 5}, "read": 43}
    verdict = run(good(), left_out=account)
    assert verdict["success"] and verdict["source_rows"] == account
    (check,) = [check for check in verdict["checks"] if check["type"] == "rows_accounted"]
    assert check["success"] and check["observed"] == "60 in the source, 17 left out, 43 read, 3 of them like others, 40 here"
    assert validate._where_rows_went(account, ROWS).rows == [
        ("in the source", "60"),
        ("left out: no label in _Churn_", "−12"),
        ("left out: no id", "−5"),
        ("alike, counted as one", "−3"),
        ("in the training set", "40"),
    ]


@pytest.mark.parametrize("account", [{"source": 60, "left_out": {"no id": 5}, "read": 43},
                                     {"source": 40, "left_out": {"no id": 5}, "read": 35}])  # fmt: skip
def test_rows_that_nobody_accounts_for_are_a_warning(run, account):
    (check,) = [check for check in run(good(), left_out=account)["checks"] if check["type"] == "rows_accounted"]
    assert (check["success"], check["severity"]) == (False, "warning")


def test_a_label_that_is_none_of_the_two_is_counted_and_stops_the_run(run):
    labels = [int(row % 5 == 0) for row in range(ROWS)]
    labels[1] = labels[2] = -1
    with pytest.raises(EvergreenError, match=r"found 2 of a value that is none of the two, 0 NULL.*spelt otherwise"):
        run(good(churned=pa.array(labels, pa.int32())))
