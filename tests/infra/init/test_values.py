"""What init reads as it is, what it reads as nothing, and that all that it proposes holds on the rows it has read."""

import random

import pyarrow.parquet as pq
import pytest

from cli.init import expectations
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.validation import validate
from pipelines.validation.expectations import Expectation, read_expectations
from tests.support.init_tables import CASES, Clone


@pytest.fixture
def clone(tmp_path, company_url):
    return Clone(tmp_path, company_url)


def lines(value, count=1200):
    """id, a value, x and a label that x tells a little."""
    drawn = random.Random(7)
    rows = []
    for number in range(count):
        x = drawn.random()
        rows.append(f"c{number:05},{value(drawn, number)},{x:.3f},{int(drawn.random() < 0.2 + 0.3 * x)}")
    return rows


def failures(clone):
    """Checks of the extracted rows that fail, by what init has proposed."""
    clone.extracted()
    owned = read_expectations(clone.queries.folder / "expectations.yaml")
    found = validate.judge_rows(clone.folder / "rows.parquet", owned, clone.params)
    return [str(check) for check in found.checks if not check.success]


@pytest.mark.parametrize(
    "value",
    [
        lambda drawn, _: f"0.000{drawn.choice([34, 36, 41, 43, 47, 49])}",  # few different rates, all near zero
        lambda drawn, _: f"-0.000{drawn.choice([3, 5])}",
        lambda drawn, _: 10_000_000_000_000_000 + drawn.randrange(120),  # above 2^53
        lambda drawn, _: -(9 * 10**17) + drawn.randrange(120),
        lambda drawn, number: "" if number % 3 else f"{drawn.random() * 1e-9:.12f}",
    ],
)
def test_what_is_proposed_holds_on_the_rows_it_was_learnt_from(clone, value):
    clone.load("id,v,x,churn", lines(value))
    said = clone.init("churn")
    assert "does not hold" not in said
    assert "column: v, min_value" in (clone.queries.folder / "expectations.yaml").read_text()
    assert failures(clone) == []


@pytest.mark.skipif(not CASES.exists(), reason="the small inputs lie beside the project")
@pytest.mark.parametrize("name", ["few_rates.csv", "bigint.csv", "zero_dates.csv"])
def test_the_small_inputs_pass_their_own_proposals(clone, name):
    header, *rows = (CASES / name).read_text().splitlines()
    clone.load(header, rows if len(rows) > 400 else [row.replace("c0", f"c{n}", 1) for n in range(3) for row in rows])
    clone.init("churn")
    assert failures(clone) == []


def test_a_proposal_that_does_not_hold_is_left_out_and_told(clone):
    clone.load("id,v,x,churn", lines(lambda drawn, _: drawn.randrange(50)))
    clone.init("churn")
    clone.extracted()
    kwargs = {"column": "v", "min_value": 0, "max_value": 10}
    wrong = Expectation(type="expect_column_values_to_be_between", severity="critical", kwargs=kwargs)
    right = wrong.model_copy(update={"kwargs": kwargs | {"max_value": 60}})
    kept, said = expectations.tried([wrong, right], pq.read_table(clone.folder / "rows.parquet"), 1.0, clone.params)
    assert kept == [right]
    assert [str(one.message) for one in said] == [
        "expect_column_values_to_be_between does not hold on the rows it was learnt from, and was left out."
    ]


def test_values_that_are_read_as_nothing_are_listed_and_can_be_kept(clone):
    def country(drawn, _):
        return drawn.choice(["NA", "DE", "FR", "unknown", "-"])

    clone.load("id,country,x,churn", lines(country))
    with postgres.connect(clone.url) as connection:
        connection.execute("update crm.t set x = 'infinity' where id < 'c00010'")
        counted = dict(connection.execute("select country, count(*) from crm.t group by 1").fetchall())
    said = clone.init("churn")
    listed = ", ".join(f"{word} in {counted[word]:,} rows" for word in ("-", "NA", "unknown"))
    assert f'"country": read as nothing known: {listed}. Are they values (NA for Namibia)? --keep.' in said
    assert '"x": infinity or NaN in 10 rows is read as NULL.' in said
    said = clone.init("churn", force=True, keep=("country",))
    assert "read as nothing known" not in said
    clone.extracted()
    assert {"NA", "-", "unknown"} < {*pq.read_table(clone.folder / "rows.parquet")["country"].to_pylist()}


def test_zero_dates_of_a_text_column_are_null_and_counted(clone):
    clone.load("id,day,x,churn", lines(lambda drawn, _: f"2024-0{drawn.randrange(1, 9)}-1{drawn.randrange(9)}"))
    with postgres.connect(clone.url) as connection:
        connection.execute("alter table crm.t alter day type text")
        connection.execute("update crm.t set day = '0000-00-00' where id < 'c00007'")
    assert '"day": dates of zeros (0000-00-00) in 7 rows are NULL.' in clone.init("churn")
    clone.extracted()
    assert pq.read_table(clone.folder / "rows.parquet")["day"].null_count == 7


@pytest.mark.parametrize(
    "value",
    [
        lambda drawn, _: drawn.choice(["1.10", "1.1", "1.2"]),
        lambda drawn, _: drawn.choice(["1e5", "2e7", "3e1"]),
        lambda drawn, _: f"+300000000{drawn.randrange(9)}",
        lambda drawn, _: drawn.choice(["2023-02-29", "2023-03-01"]),
    ],
)
def test_texts_that_a_number_or_a_date_would_change_stay_text(clone, value):
    clone.load("id,v,x,churn", lines(value))
    clone.init("churn")
    clone.extracted()
    assert str(pq.read_table(clone.folder / "rows.parquet").schema.field("v").type) == "string"


def test_a_mistake_in_an_option_is_told_before_what_would_be_overwritten(clone):
    clone.load("id,v,x,churn", lines(lambda drawn, _: drawn.randrange(50)))
    clone.init("churn")
    for wrong, said in (({"protected": ("gone",)}, "no such column"), ({"positive": "maybe"}, "--positive 'maybe'")):
        with pytest.raises(EvergreenError, match=said):
            clone.init("churn", **wrong)
    with pytest.raises(EvergreenError, match="would be overwritten"):
        clone.init("churn")


def test_columns_of_a_wide_table_are_counted_by_hundreds_and_as_in_one(clone, monkeypatch):
    clone.load("id,v,x,churn", lines(lambda drawn, _: drawn.randrange(50)))
    clone.init("churn")
    before = {path.name: path.read_text() for path in clone.queries.folder.iterdir()}
    monkeypatch.setattr("cli.init.profile.TOGETHER", 2)
    monkeypatch.setattr("cli.init.measure.TOGETHER", 1)
    said = clone.init("churn", force=True)
    assert "4 of 4 columns of the source are counted." in said and "2 of 2 columns of the training set" in said
    assert {path.name: path.read_text() for path in clone.queries.folder.iterdir()} == before
