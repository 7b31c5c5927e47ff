"""No row and no label is lost in silence between the source and the training set."""

import random

import pyarrow.parquet as pq
import pytest

from pipelines.data import postgres
from pipelines.stages import extract as extract_stage
from pipelines.validation import checks
from tests.support.init_tables import Clone


@pytest.fixture
def clone(tmp_path, company_url):
    return Clone(tmp_path, company_url)


def rows(count=1200, label=lambda _, churns: "Yes" if churns else "No"):
    """id, plan, x and the label, of which a third is positive where the plan is b."""
    drawn = random.Random(3)
    lines = []
    for number in range(count):
        plan = drawn.choice("ab")
        churns = drawn.random() < (0.4 if plan == "b" else 0.2)
        lines.append(f"c{number:05},{plan},{drawn.random():.3f},{label(number, churns)}")
    return lines


def labels(clone):
    return pq.read_table(clone.folder / "rows.parquet")["churn"].to_pylist()


def test_a_label_that_is_spelt_otherwise_later_stays_and_stops_the_run(clone):
    clone.load("id,plan,x,churn", rows())
    clone.init("churn")
    before, _ = clone.extracted()
    with postgres.connect(clone.url) as connection:
        respelt = connection.execute("update crm.t set churn = 'Y' where churn = 'Yes' and plan = 'a'").rowcount
    after, account = clone.extracted()
    assert after["rows"] == before["rows"] == 1200 and labels(clone).count(-1) == respelt > 50
    assert after["fingerprint"] != before["fingerprint"]
    assert account == {"source": 1200, "left_out": {}, "read": 1200}
    found = checks.check_labels(pq.read_table(clone.folder / "rows.parquet"), clone.params.data, clone.params.validate_)
    (check,) = [check for check in found if check.type == "labels"]
    assert not check.success and check.severity == "critical"
    assert check.observed == f"{respelt} of a value that is none of the two, 0 NULL"


def test_rows_without_a_name_that_are_alike_keep_an_unknown_label(clone):
    clone.load("plan,x,churn", [line.split(",", 1)[1] for line in rows()])
    clone.init("churn")
    with postgres.connect(clone.url) as connection:
        connection.execute("update crm.t set x = 7, plan = 'a', churn = 'maybe' where ctid in (select ctid from crm.t limit 3)")
    clone.extracted()
    assert labels(clone).count(-1) == 1


def test_every_row_that_is_left_out_is_counted_by_its_reason(clone):
    drawn = random.Random(4)
    lines = []
    for number, line in enumerate(rows(2000)):
        ident, plan, x, churn = line.split(",")
        day = f"202{number % 3}-0{1 + number % 9}-1{number % 10}"
        lines.append(f"{'' if number % 100 == 7 else ident},{plan},{x},{'' if number % 50 == 3 else day},"
                     f"{drawn.choice(['?', '']) if number % 40 == 1 else churn}")  # fmt: skip
    clone.load("id,plan,x,day,churn", lines)
    clone.init("churn", id="id", time="day", horizon=30)
    manifest, account = clone.extracted()
    assert account["source"] == 2000 == account["read"] + sum(account["left_out"].values())
    assert account["read"] == manifest["rows"]
    assert account["left_out"].keys() == {"no id", "no day in day", "no label in churn", "label not due by the pin"}
    assert account["left_out"]["no id"] == 20 and account["left_out"]["no day in day"] == 40
    assert extract_stage.summary(account).startswith("2,000 rows in the source; left out: 2")


def test_a_table_without_dates_counts_labels_that_are_not_there(clone):
    clone.load("id,plan,x,churn", rows(label=lambda number, churns: "" if number % 10 == 0 else "Yes" if churns else "No"))
    clone.init("churn")
    manifest, account = clone.extracted()
    assert account == {"source": 1200, "left_out": {"no label in churn": 120}, "read": 1080}
    assert manifest["rows"] == 1080


def test_labels_that_are_read_as_nothing_are_listed(clone):
    clone.load(
        "id,plan,x,churn", rows(label=lambda number, churns: "unknown" if number % 10 == 0 else "Yes" if churns else "No")
    )
    said = clone.init("churn")
    assert '"churn": read as nothing known: unknown in 120 rows. Are they values (NA for Namibia)? --keep.' in said


@pytest.mark.parametrize("other", [lambda key: f"{key} ", str.upper, None])
def test_keys_that_differ_in_blanks_or_case_alone_are_told(clone, other):
    lines = [line.split(",", 1) for line in rows()]
    for number in range(50):
        lines[2 * number][0] = other(lines[2 * number + 1][0]) if other else lines[2 * number][0]
    clone.load("id,plan,x,churn", [",".join(line) for line in lines])
    told = '"id": 50 of its values are another one but for blanks or case.' in clone.init("churn", id="id")
    assert told == bool(other)


def test_a_dataset_without_the_file_says_nothing(clone):
    clone.load("id,plan,x,churn", rows())
    clone.init("churn")
    clone.queries.left_out.unlink()
    assert clone.extracted()[1] == {}
