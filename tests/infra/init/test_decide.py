"""Decisions from what is in a source: no database."""

import datetime as dt
import random

import pytest

from cli.init import columns, leaks, measure, parameters
from cli.init.columns import Feature, clean, looks_like_id, without_use
from cli.init.decide import decide
from cli.init.profile import Clock, Column, Profile
from cli.init.source import Relation
from cli.init.survey import Options, Survey
from cli.init.target import choose
from pipelines.config.errors import EvergreenError

TABLE = Relation("the table a.t", '"a"."t"', True)


def column(name="x", kind="text", type="text", rows=100, filled=None, distinct=3, **facts):
    return Column(
        name, type, kind, rows, rows if filled is None else filled, distinct, digest=facts.pop("digest", name), **facts
    )


def survey(*others, values=(("yes", 100), ("no", 100)), target=None, **found):
    target = target or column("churn", rows=200)
    return Survey(Profile(200, 200, (target, *others)), "churn", values, **found)


def plan(*others, options=None, **found):
    return decide("t", TABLE, survey(*others, **found), options or Options(target="churn"))


@pytest.mark.parametrize(
    ("found", "expression", "kind"),
    [
        (column(), "nullif(trim(\"x\"), '')", "text"),
        (column(missing=2, spellings={"?": 2}), "nullif(trim(\"x\"), '?')", "text"),
        (
            column(missing=2, spellings={"NA": 1, "?": 1}),
            "case when trim(\"x\") not in ('', '?', 'NA') then trim(\"x\") end",
            "text",
        ),
        (column(numbers=98, missing=2, spellings={"?": 2}), "nullif(trim(\"x\"), '?')::float8", "number"),
        (column(numbers=98, nones=2), "(case when trim(\"x\") not in ('', 'NONE', 'None', 'none') then", "number"),
        (column(numbers=100, codes=1), "nullif(trim(\"x\"), '')", "text"),
        (column(dates=100), "nullif(trim(\"x\"), '')::date - date '2000-01-01'", "number"),
        (column(kind="number", type="numeric"), '"x"::float8', "number"),
        (column(kind="number", type="integer"), '"x"', "number"),
        (column(kind="number", type="real", not_finite=1), "case when \"x\" not in ('NaN', 'Infinity', '-Infinity')", "number"),
        (column(kind="timestamp", type="timestamp"), "\"x\"::date - date '2000-01-01'", "number"),
        (column(kind="duration", type="interval"), 'extract(epoch from "x")::float8', "number"),
        (column(kind="boolean", type="boolean"), '"x"', "boolean"),
        (column(type="character(1)"), "nullif(trim(\"x\"::text), '')", "text"),
    ],
)
def test_values_become_what_a_model_can_read(found, expression, kind):
    said, of = clean(found)
    assert said.startswith(expression) and of == kind


def test_a_date_is_told_from_the_rows_own_day():
    assert clean(column(kind="date", type="date"), '"day"') == ('"day" - "x"', "number")


def test_what_only_a_sample_says_may_be_wrong_elsewhere():
    assert clean(column(numbers=100), sampled=True)[0].startswith('case when trim("x") ~ ')
    assert clean(column(dates=100), sampled=True)[0].startswith('(case when trim("x") ~ ')
    for found in (column(numbers=100), column(dates=100)):
        told = [list(columns.advice(found, Feature("x", "x", *clean(found)), sampled=sampled)) for sampled in (False, True)]
        assert "one that is none is read as NULL" in told[1][0].message and told[1][1:] == told[0]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (column(kind="other", type="jsonb"), "of type jsonb"),
        (column(filled=0, distinct=0), "no row has a value"),
        (column(distinct=2, missing=100, spellings={"?": 50, "": 50}), "no row has a value"),
        (column(distinct=1), "the same value in every row"),
        (column("y", digest="seen"), 'the same in every row as "before"'),
        (column(distinct=100, longest=36), "looks like an id"),
        (column("n", kind="number", type="bigint", distinct=100, lowest="1", highest="100"), "looks like an id"),
        (column(distinct=95, longest=300), "looks like names or prose"),
    ],
)
def test_what_tells_nothing_is_left_out(found, reason):
    assert without_use(found, {"seen": "before"}, 200).startswith(reason)


@pytest.mark.parametrize(
    "found",
    [
        column(distinct=60),  # many categories, and no prose
        column(filled=50, distinct=1),  # the one value is there or not
        column(kind="number", type="bigint", distinct=100, lowest="1", highest="90000"),  # an amount, each once
        column(kind="number", type="double precision", distinct=100, lowest="0.1", highest="9.5", fractions=99),
    ],
)
def test_what_may_tell_something_is_read(found):
    assert without_use(found, {}, 200) is None and not looks_like_id(found)


@pytest.mark.parametrize(
    ("values", "positive", "chosen"),
    [
        ([("0", 80), ("1", 60)], None, "1"),
        ([("no", 80), ("Yes", 60), (None, 5)], None, "Yes"),
        ([("false", 80), ("true", 60)], None, "true"),
        ([("-1", 80), ("1.0", 60)], None, "1.0"),
        ([("1", 80), ("2", 60)], "2", "2"),
        ([("1.00", 80), ("2.00", 60)], "2", "2.00"),
        ([("good", 80), ("bad", 60)], "Bad", "bad"),
    ],
)
def test_the_positive_is_known_or_said(values, positive, chosen):
    found = choose(column("churn"), values, "churn", positive)
    assert (found.positive, found.positives, found.negatives) == (chosen, 60, 80)


@pytest.mark.parametrize(
    ("values", "positive", "said"),
    [
        ([("1", 80), ("2", 60)], None, "say which one is predicted by --positive"),
        ([("good", 80), ("bad", 60)], "ugly", "has the values 'good' and 'bad'"),
        ([("a", 80), ("b", 60), ("c", 9)], None, "more than two values. Supported is a yes or no"),
        ([("a", 80), ("b", 60), ("c", 9)], "a", "more than two values. Supported is a yes or no"),
        ([("yes", 80), (None, 60)], None, "has 1 value"),
        ([(None, 60)], None, "has 0 value"),
        ([("yes", 8), ("no", 600)], None, "At least 50 of each"),
    ],
)
def test_a_target_that_is_no_yes_or_no_is_refused(values, positive, said):
    with pytest.raises(EvergreenError, match=said):
        choose(column("churn"), values, "churn", positive)


def test_a_target_of_which_one_value_reads_as_nothing_names_the_option():
    with pytest.raises(EvergreenError, match=r"Read as nothing known: missing\. If that is a value, name the column by --keep"):
        choose(column("churn", spellings={"": 3, "missing": 60}), [("present", 80), (None, 63)], "churn", None)


def test_roles_keep_columns_that_would_be_left_out():
    constant = column("region", distinct=1)
    options = Options("churn", protected=("region",), personal=("name",), exclude=("age",))
    found = plan(
        constant, column("name", distinct=200), column("age", kind="number", type="integer"), column("p"), options=options
    )
    assert (found.protected, found.personal, found.exclude) == (("region",), ("name",), ("region", "age"))
    assert [feature.name for feature in found.learnt] == ["p"]


def test_a_protected_number_becomes_groups():
    age = column("age", kind="number", type="integer", distinct=60, quartiles=(30.0, 45.0, 60.0))
    (band, _) = plan(age, column("p"), options=Options("churn", protected=("age",))).features
    assert band.name == "age_band" and band.kind == "text"
    assert "< 45 then '30 to 45'" in band.expression and band.expression.endswith("'60 and more' end")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (column("p", filled=0, distinct=0), "no row has a value"),
        (column("p", kind="date", type="date"), "make groups of it"),
        (column("p", distinct=60), "at most 50 groups"),
    ],
)
def test_a_protected_column_without_groups_is_refused(found, said):
    with pytest.raises(EvergreenError, match=said):
        plan(found, column("q"), options=Options("churn", protected=("p",)))


def test_nothing_to_learn_from_is_refused_with_the_reasons():
    with pytest.raises(EvergreenError, match=r'No column is left to learn from\.\n  "x": no row has a value'):
        plan(column("x", filled=0, distinct=0))


def test_what_is_later_than_its_row_is_left_out_and_asked_about():
    clock = Clock(dt.date(2024, 1, 1), dt.date(2024, 12, 31), 300, 0, 0)
    late = column("closed", kind="date", type="date", later=90)
    found = plan(late, column("day", kind="date", type="date"), column("p"), options=Options("churn", time="day"),
                 day='"day"', clock=clock)  # fmt: skip
    assert [one.source for one in found.left_out] == ["closed"] and "90.0% of the rows" in found.left_out[0].reason


@pytest.mark.parametrize(
    ("days", "key", "grain", "daily"),
    [
        (300, None, "month", False),  # a row comes once
        (12, (1200, 1200, 100), "day", False),  # everyone at each month's end
        (360, (36000, 36000, 100), "day", True),  # everyone every day
        (12, None, "day", False),
    ],
)
def test_the_calendar_is_told_from_days_and_keys(days, key, grain, daily):
    clock = Clock(dt.date(2024, 1, 1), dt.date(2024, 12, 31), days, 0, 0)
    options = Options("churn", time="day", id="who" if key else None)
    others = (column("day", kind="date", type="date"), column("who", distinct=100), column("p"))
    found = plan(*others, options=options, day='"day"', clock=clock, key=key)
    assert (found.time.grain, found.time.everyone_daily) == (grain, daily)


def test_the_newest_day_of_moments_may_be_half_there():
    clock = Clock(dt.date(2024, 1, 1), dt.date(2024, 12, 31), 30, 0, 0)
    moments = column("at", kind="timestamp", type="timestamp without time zone")
    found = plan(moments, column("p"), options=Options("churn", time="at"), day='"at"::date', clock=clock)
    assert found.time.watermark == dt.date(2024, 12, 30)


@pytest.mark.parametrize(("rows", "folds"), [(900, 8), (90_000, 5)])
def test_of_few_rows_each_model_sees_more(rows, folds):
    written = {key: value for key, value, _ in parameters._gates(plan(column("p")), measure.TrainingSet(rows, 300, (), ()))}
    assert written["split.folds"] == folds


@pytest.mark.parametrize(
    ("buckets", "auc"),
    [
        ([(50, 0), (50, 50)], 1.0),
        ([(50, 25), (50, 25)], 0.5),
        ([(20, 0), (20, 20), (160, 80)], 0.68),
        ([(30, 0)], 0.5),
        ([(2, 0)] * 30 + [(2, 2)] * 30, 0.5),  # names, each of two rows: they know nothing of a third
    ],
)
def test_a_columns_auc_is_that_of_its_buckets(buckets, auc):
    assert measure.auc(buckets) == pytest.approx(auc)


def test_a_column_that_tells_the_label_is_left_out_and_one_that_nearly_does_is_asked_about():
    found = plan(column("told"), column("hinted"), column("p"))
    measured = [
        measure.Measured(name, buckets)
        for name, buckets in {"told": ((100, 0), (100, 100)), "hinted": ((100, 7), (100, 93)), "p": ((200, 100),)}.items()
    ]
    training = measure.TrainingSet(200, 100, tuple(measured))
    assert [one.source for one in leaks.certain(found, training)] == ["told"]
    assert [one.about for one in leaks.suspicious(found, training)] == ['"hinted"']


def test_labels_that_are_still_to_come_are_noticed():
    days = [dt.date(2024, month, 28) for month in range(1, 9)]
    shares = [30, 29, 31, 30, 28, 30, 12, 3]
    training = measure.TrainingSet(800, 193, (), tuple((day, 100, share) for day, share in zip(days, shares, strict=True)))
    (said,) = leaks.suspicious(plan(column("p")), training)
    assert said.about == "--horizon" and "from 2024-07-28 on" in said.message


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (column(distinct=60), "too many categories: 60"),
        (column(other_dates=100), "written in another way"),
        (column(number_like=95), "numbers but for 5 rows"),
        (column(number_like=100), "numbers with separators"),
        (column(filled=2, distinct=2), "98 of 100 rows have no value"),
    ],
)
def test_doubts_are_told(found, said):
    (advice,) = columns.advice(found, Feature("x", "x", *clean(found)))
    assert said in advice.message


RANDOM = random.Random(0)


def whole(values, name="x", **facts):
    """A column of whole numbers, as Postgres would count it."""
    ordered = sorted(values)
    quartiles = tuple(float(ordered[len(ordered) * part // 4]) for part in (1, 2, 3))
    return column(name, kind="number", type="bigint", rows=len(ordered), distinct=len({*ordered}), lowest=str(ordered[0]),
                  highest=str(ordered[-1]), quartiles=quartiles, **facts)  # fmt: skip


def drawn(lowest, highest, rows=2000):
    return RANDOM.sample(range(lowest, highest), rows)


@pytest.mark.parametrize(
    ("found", "evidence"),
    [
        (whole(drawn(700_000_000, 830_000_000)), "whole numbers of 9 digits"),
        (whole([*drawn(708_000_000, 721_000_000, 1000), *drawn(765_000_000, 828_000_000, 1000)]), "whole numbers of 9 digits"),
        (whole(drawn(10_000_000, 99_999_999)), "whole numbers of 8 digits"),
        (whole(drawn(1, 10_000)), "0 of its whole numbers come again, where chance would repeat 200"),
        (whole(range(100_000, 114_000, 7)), "0 of its whole numbers come again"),
        (whole([*range(1000, 1990), *range(1000, 1010)]), "10 of its whole numbers come again, where chance would repeat 505"),
    ],
    ids=["numbers", "in blocks", "all of 8 digits", "few of many", "in steps", "nearly all"],
)
def test_a_key_is_known_by_its_values_whatever_its_name(found, evidence):
    assert columns.id_evidence(found).startswith(evidence)


@pytest.mark.parametrize(
    "found",
    [
        whole({int(RANDOM.lognormvariate(15, 1)) for _ in range(2000)}),
        whole({int(RANDOM.gauss(50_000_000, 1_000_000)) for _ in range(2000)}),
        whole({RANDOM.randrange(30_000_000) for _ in range(2000)}),
        whole({RANDOM.randrange(1_600_000_000, 1_700_000_000) for _ in range(2000)}),
        whole([RANDOM.randrange(20_000) + 100_000 for _ in range(2000)]),
        whole([10_000 * year + 100 * month + 15 for year in range(2000, 2020) for month in (1, 5, 9)]),
        whole(drawn(700_000_000, 830_000_000), fractions=3),
    ],
    ids=["balance", "bell", "seconds from 0", "seconds since 1970", "repeats", "days", "fractions"],
)
def test_a_measure_is_no_key_though_nearly_all_of_its_values_differ(found):
    assert columns.id_evidence(found) is None


def of_months(rows, positives):
    """A plan with a horizon of 30 days, and its training set of so many rows and positives a month."""
    clock = Clock(dt.date(2024, 1, 31), dt.date(2024, 12, 31), 12, 0, 0)
    options = Options("churn", time="day", horizon=30)
    found = plan(column("day", kind="date", type="date"), column("p"), options=options, day='"day"', clock=clock)
    ends = [dt.date(2024, month + 1, 1) - dt.timedelta(1) for month in range(1, 1 + len(rows))]
    training = measure.TrainingSet(sum(rows), sum(positives), (), tuple(zip(ends, rows, positives, strict=True)))
    return found, training


def test_limits_hold_from_the_first_pin_that_has_enough():
    found, training = of_months([100, 100, 200, 400, 400], [5, 20, 20, 100, 100])
    first, fewest = parameters.smallest_pin(found, training)
    assert (first, fewest) == (dt.date(2024, 4, 30) + dt.timedelta(30), 800)  # three months have 45 positives


def test_limits_hold_for_the_whole_table_where_no_earlier_pin_has_enough():
    found, training = of_months([100, 100, 400], [5, 5, 30])
    assert parameters.smallest_pin(found, training) == (None, 600)


def test_a_value_that_goes_over_lines_is_replaced_as_a_whole():
    template = [
        "features:", "  texts:", "    trim: true", "    missing: {a: [x]}", "  exclude: [one,", "      two]    # reason",
        "          # and the rest", "  last: 1", "recency:", "  rows: 1",
    ]  # fmt: skip
    parameters._set(template, "features.texts", {"trim": False}, None, "params.yaml")
    parameters._set(template, "features.exclude", [], "ours", "params.yaml")
    assert [line.split("#")[0].rstrip() for line in template] == [
        "features:", "  texts: {trim: false}", "  exclude: []", "  last: 1", "recency:", "  rows: 1",
    ]  # fmt: skip
