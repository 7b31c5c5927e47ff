"""The gate on leaks: what turns it red, what it says, and what lets a column go all the same."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from pipelines import features
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.data import split
from pipelines.stages import leakage as leakage_stage
from pipelines.validation import copies, leakage
from pipelines.validation.checks import Check
from pipelines.validation.leakage import Sides
from studies.selftest import grounds

CONFIG = params.read()
CUSTOMERS, DAYS = 800, [dt.date(2025, month, 28) for month in range(1, 7)]
SIZE = CUSTOMERS * len(DAYS)
RANDOM = np.random.default_rng(0)
LABEL = (RANDOM.random(SIZE) < 0.2).astype(np.int32)
NOISE, OTHER = RANDOM.random(SIZE), RANDOM.random(SIZE)


def world(**columns) -> pa.Table:
    """800 customers on six days, with an honest column; others as they are given."""
    return pa.table(
        {
            "customer": np.arange(SIZE) % CUSTOMERS,
            "day": np.repeat(np.array(DAYS, "datetime64[D]"), CUSTOMERS),
            "left": LABEL,
            "honest": LABEL * 0.3 + OTHER,
            **columns,
        }
    )


def config(**leakage_params) -> params.Params:
    data = {"entity": "customer", "time": "day", "target": "left", "protected": [], "personal": []}
    sections = {
        "data": CONFIG.data.model_copy(update=data),
        "split": CONFIG.split.model_copy(update={"folds": 3}),
        "evaluate": CONFIG.evaluate.model_copy(update={"newest_snapshots": 1, "newest_positives": 50}),
        "features": CONFIG.features.model_copy(update={"exclude": []}),
        "leakage": params.LeakageParams(**leakage_params),
    }
    return CONFIG.model_copy(update=sections)


def sides(rows: pa.Table, of: params.Params) -> Sides:
    schema = features.learn_schema(rows, of.data, of.features)
    return leakage.divide(split.split(rows, of.data, of.split), schema, of)


def failed(rows: pa.Table, of: params.Params | None = None) -> list[Check]:
    of = of or config()
    return [check for check in leakage.judge(sides(rows, of), of) if not check.success]


def test_the_first_fold_is_held_against_the_others() -> None:
    of = config()
    apart, fold = sides(world(), of), split.fold_of(world()["customer"], of.split.salt, 3)
    assert set(apart.test["customer"].to_pylist()) == set(np.arange(SIZE)[fold == 0] % CUSTOMERS)
    assert apart.train.num_rows + apart.test.num_rows == SIZE
    late = apart.test.filter(apart.test["newest"])
    assert set(late["day"].to_pylist()) == {DAYS[-1]} and late.num_rows == len(set(apart.test["customer"].to_pylist()))


def test_honest_rows_pass() -> None:
    text = np.where(LABEL == 1, "left early", "stayed")
    mixed = np.where(RANDOM.random(SIZE) < 0.7, RANDOM.choice(["a", "b"], SIZE), text)
    assert failed(world(text=mixed, flag=NOISE > 0.5, late=pa.array(NOISE, mask=NOISE < 0.3))) == []


FLIPPED = np.where(RANDOM.random(SIZE) < 0.01, 1 - LABEL, LABEL)


@pytest.mark.parametrize(
    "column",
    [
        LABEL,
        np.where(LABEL == 1, "Canceled", np.where(NOISE > 0.5, "Check-Out", "No bill")),
        LABEL == 1,
        FLIPPED,
        LABEL * 100 + NOISE,
        pa.array(NOISE, mask=LABEL == 1),
        np.where(LABEL == 1, RANDOM.integers(500, 600, SIZE), RANDOM.integers(0, 500, SIZE)),
    ],
    ids=["copy", "status", "flag", "copy with errors", "number", "missing for one label", "numbered by label"],
)
def test_a_column_that_knows_the_answer_is_blocked_with_its_figure(column) -> None:
    (found, *more) = failed(world(leak=column))
    assert (found.type, found.column, found.severity, found.kind) == ("alone", "leak", "critical", "leak")
    assert found.observed.startswith(("0.9", "1.0000 [1.0000, 1.0000]"))
    assert 'leakage.allowed: {leak: "' in found.advice
    assert {one.column for one in more} <= {"leak"}


def test_the_whole_interval_must_lie_above_the_limit() -> None:
    few = world(leak=np.where(RANDOM.random(SIZE) < 0.065, 1 - LABEL, LABEL))
    point = failed(few, config(max_auc=0.9))[0].observed
    assert failed(few, config(max_auc=float(point.split()[0]) - 0.001)) == []


def test_a_column_that_is_missing_for_one_label_only_is_blocked_though_it_ranks_badly() -> None:
    absent = (LABEL == 0) & (NOISE < 0.4)
    (found,) = failed(world(closed_on=pa.array(RANDOM.random(SIZE), mask=absent)))
    assert (found.type, found.column) == ("missing_by_label", "closed_on")
    assert "0.00% positive of" in found.observed


def test_a_handful_of_missing_values_is_chance() -> None:
    absent = (LABEL == 0) & (NOISE < 0.012)
    assert failed(world(total=pa.array(RANDOM.random(SIZE), mask=absent))) == []


def filled_later(columns: int, of_positives: float) -> dict[str, pa.Array]:
    """Columns that are filled in after the outcome, each for some of the positives and for few others."""
    given = np.random.default_rng(5)
    shares = np.where(LABEL == 1, of_positives, 0.02)
    return {f"refund_{n}": pa.array(given.random(SIZE), mask=given.random(SIZE) >= shares) for n in range(columns)}


def ranked(auc: float) -> np.ndarray:
    """A column that ranks by itself with this ROC-AUC."""
    return LABEL * NormalDist().inv_cdf(auc) * 2**0.5 + np.random.default_rng(6).normal(size=SIZE)


def of_type(rows: pa.Table, name: str, of: params.Params | None = None) -> list[Check]:
    return [one for one in failed(rows, of) if one.type == name]


@pytest.mark.parametrize("columns", [3, 5])
def test_columns_that_are_filled_in_later_are_blocked_together_though_none_tells_the_label_alone(columns) -> None:
    rows = world(**filled_later(columns, 0.8), **{f"x{n}": RANDOM.random(SIZE) for n in range(4)})
    names = [f"refund_{n}" for n in range(columns)]
    found = failed(rows)
    assert [(one.type, one.column, one.severity) for one in found] == [("together", name, "critical") for name in names]
    assert f"without {', '.join(names)}" in found[0].observed
    assert "When is it known?" in found[0].advice and 'leakage.allowed: {refund_0: "' in found[0].advice
    reason = "the desk pays back before they go"
    allowed = config(allowed=dict.fromkeys(names, reason))
    assert failed(rows, allowed) == []


def test_a_score_that_carries_the_model_is_a_warning_by_name() -> None:
    (found,) = failed(world(score=ranked(0.93), **{f"x{n}": RANDOM.random(SIZE) for n in range(4)}))
    assert (found.type, found.column, found.severity) == ("together", "score", "warning")
    assert "When is it known?" in found.advice


def test_many_columns_that_are_good_together_are_no_block() -> None:
    strong = {f"x{n}": LABEL * 0.85 + np.random.default_rng(100 + n).normal(size=SIZE) for n in range(20)}
    found = failed(world(**strong))
    assert {(one.type, one.severity) for one in found} == {("together", "warning")}
    assert found[0].observed.startswith("0.99") and len(found) == 3
    assert failed(world(**strong), config(suspicious_auc=1.0)) == []


def test_what_another_check_speaks_of_is_left_out_of_the_whole_model() -> None:
    assert of_type(world(leak=LABEL), "together") == []


def test_few_columns_each_carry_much_and_are_not_blocked() -> None:
    table = world(x=ranked(0.93), y=LABEL * 2.0 + RANDOM.normal(size=SIZE))
    assert {one.severity for one in failed(table)} == {"warning"}


def test_days_after_the_snapshot_are_blocked_where_a_column_counts_them() -> None:
    rows = world(days_since_change=np.where(NOISE < 0.02, -3.0, 40 * NOISE))
    assert failed(rows) == []
    (found,) = failed(rows, config(ages=["days_since_change"]))
    assert (found.column, found.kind) == ("days_since_change", "future")
    few = world(days_since_change=np.where(NOISE < 0.0005, -3.0, 40 * NOISE))  # mistyped ones
    assert failed(few, config(ages=["days_since_change"])) == []


def test_a_column_that_is_declared_known_later_is_blocked_as_a_feature_only() -> None:
    (found,) = failed(world(room=NOISE), config(available_after=["room", "never_read"]))
    assert (found.type, found.column, found.severity) == ("available_after", "room", "critical")


def test_an_entity_on_both_sides_is_counted() -> None:
    apart = sides(world(), config())
    mixed = Sides(apart.train, pa.concat_tables([apart.test, apart.train.slice(0, 5).append_column(
        "newest", pa.array([False] * 5))]), apart.schema, apart.data)  # fmt: skip
    found = [check for check in leakage.judge(mixed, config()) if not check.success]
    assert [check.observed for check in found if check.type == "entities_apart"] == ["5 on both sides"]


def test_rows_under_another_key_on_the_other_side_are_counted() -> None:
    rows = world(amount=RANDOM.random(SIZE))
    keys = pa.array(np.asarray(rows["customer"]) + CUSTOMERS)
    again = pa.concat_tables([rows, rows.set_column(0, "customer", keys).slice(0, SIZE // 2)])
    (found,) = failed(again)
    assert (found.type, found.kind) == ("copies", "sides")
    assert failed(again, config(max_copies=1.0)) == []


def test_rows_that_are_alike_because_columns_are_coarse_are_no_copies() -> None:
    coarse = world(plan=RANDOM.choice([*"abcdef"], SIZE)).drop_columns(["honest"])
    assert failed(coarse) == []
    of = config()
    (found,) = [check for check in leakage.judge(sides(coarse, of), of) if check.type == "copies"]
    assert "(100.00%) have an equal row in training" in found.observed and "(at least 0%)" in found.observed


def test_rows_whose_few_values_settle_the_label_are_no_copies() -> None:
    """A rule of two columns that no quick model learns by heart: every twin agrees, and chance alone makes all of them."""
    a, b = RANDOM.integers(0, 12, SIZE), RANDOM.integers(0, 9, SIZE)
    rows = world(a=pa.array(a.astype(str)), b=pa.array(b.astype(str)), left=((a * 5 + b * 7) % 4 == 0).astype(np.int32))
    of = config()
    (found,) = [one for one in leakage.judge(sides(rows.drop_columns(["honest"]), of), of) if one.type == "copies"]
    assert found.success and "agree in 100.0%" in found.observed and "100% of the rows alike" in found.observed


def test_rows_of_areas_are_no_copies_however_their_columns_depend_on_each_other() -> None:
    """Ten columns, all of the area: independent ones would never be alike. Areas differ in how often they buy."""
    area = np.repeat(RANDOM.integers(0, 120, CUSTOMERS), 1)[np.arange(SIZE) % CUSTOMERS]
    of_area, buys = RANDOM.integers(0, 10, (120, 10)), RANDOM.normal(-1, 1, 120)
    label = (RANDOM.random(SIZE) < 1 / (1 + np.exp(-buys[area]))).astype(np.int32)
    columns = {f"a{number}": of_area[area, number] for number in range(10)}
    rows = world(**columns, left=label).drop_columns(["honest"])
    assert failed(rows) == []


def test_copies_are_told_from_twins_by_their_labels() -> None:
    """A third of 3,000 held-out rows are copies, a third are twins by chance, and a third are alike to none."""
    random, size = np.random.default_rng(4), 3000
    labels = (random.random(size) < 0.3).astype(np.int8)
    theirs = np.where(np.arange(size) < size // 3, labels, (random.random(size) < 0.3).astype(np.int8))
    train, test = np.arange(size), np.where(np.arange(size) < 2 * size // 3, np.arange(size), -1 - np.arange(size))
    found = copies.find(pa.table({"x": train}), labels, pa.table({"x": test}), theirs, lambda at: np.full(len(at), 0.3))
    assert found.count == 2 * size // 3
    assert found.copies == pytest.approx(0.5, abs=0.05) and found.low < 0.5
    assert found.by_chance == pytest.approx(0.58)
    assert found.agreement == pytest.approx(0.79, abs=0.02)
    assert found.exceeds(0.25) and not found.exceeds(0.35)


def test_without_a_twin_there_is_no_copy() -> None:
    train, test = pa.table({"x": [1, 2]}), pa.table({"x": [3]})
    none = copies.find(train, np.array([0, 1]), test, np.array([1]), lambda at: np.full(len(at), 0.5))
    assert not none.exceeds(0.01) and str(none) == "0 of 1 (0.00%) have an equal row in training"


def test_equal_rows_have_equal_digests_in_whichever_table() -> None:
    table = pa.table({"a": [1.5, None, 1.5, 2.0], "b": ["x", "y", "x", None]})
    whole, part = copies.digests(table, table.slice(2))
    assert whole[0] == whole[2] == part[0] and whole[3] == part[1]
    assert len(set(whole.tolist())) == 3


def test_a_clock_among_the_features_is_a_warning() -> None:
    counted = np.repeat(np.arange(len(DAYS)), CUSTOMERS) * 30.0 + NOISE
    (found,) = failed(world(days_since_2000=counted))
    assert (found.type, found.column, found.severity) == ("separation", "days_since_2000", "warning")


def test_what_is_allowed_goes_on_as_a_warning_that_gives_the_reason() -> None:
    reason = "the call centre writes it down a week before"
    (found,) = [one for one in failed(world(leak=LABEL), config(allowed={"leak": reason})) if one.column == "leak"]
    assert found.severity == "warning" and reason in found.advice
    (strange,) = failed(world(), config(allowed={"leek": reason}))
    assert strange.severity == "warning" and "leek" in strange.observed
    with pytest.raises(ValidationError):
        params.LeakageParams(allowed={"leak": ""})


def test_red_ends_the_stage_with_a_page_and_no_cell(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = YAML(typ="safe").load(Path(__file__).parents[2] / "params.yaml")
    values["data"] |= {"entity": "customer", "time": "day", "target": "left", "protected": []}
    YAML().dump(values, Path("params.yaml"))
    rows = world(leak=np.where(LABEL == 1, "canary gone", "canary here"))
    pq.write_table(split.split(rows, config().data, config().split), "training.parquet")
    Path("schema.json").write_text(json.dumps({"numbers": ["honest"], "categories": {"leak": []}}))
    with pytest.raises(EvergreenError, match=r"alone \[leak\]: expected ROC-AUC of a column alone below 0\.95, found 1\.0000"):
        leakage_stage.main(
            training=Path("training.parquet"), schema=Path("schema.json"), verdict=Path("leakage.json"), docs=Path("docs")
        )
    page = Path("docs/index.html").read_text()
    assert "<title>Leakage failed</title>" in page and "canary" not in page
    assert json.loads(Path("leakage.json").read_text())["success"] is False


@pytest.mark.long
def test_no_block_on_the_clean_tables_and_the_hotels_status_is_one() -> None:
    for ground in grounds.load(grounds.PROJECT.parent / "shared/data", print):
        assert [one for one in failed(ground.rows, ground.params) if one.severity == "critical"] == [], ground.name
        if ground.name == "hotel_bookings":
            status = np.where(np.asarray(ground.rows["is_canceled"]) == 1, "Canceled", "Check-Out")
            told = ground.rows.append_column("reservation_status", pa.array(status))
            assert [one.column for one in failed(told, ground.params) if one.severity == "critical"] == ["reservation_status"]
