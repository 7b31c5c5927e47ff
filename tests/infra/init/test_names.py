"""Names of the world, and ours."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.init import names
from pipelines.config.errors import EvergreenError


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("customerID", "customer_id"),
        ("Total Charges (%)", "total_charges"),
        ("StreamingTV", "streaming_tv"),
        ("Größe", "größe"),
        ("2nd try", "n_2nd_try"),
        ("字段", "字段"),
        ("a.b:c", "a_b_c"),
        ("!?", "column"),
    ],
)
def test_a_name_becomes_plain(name, ours):
    assert names.tidy(name) == ours


def test_names_that_would_be_alike_or_are_taken_get_a_number_or_a_line():
    found = names.tidy_all(["Price", "price", "PRICE ", "score", "score_linear", "churn"], taken=["churn"])
    assert list(found.values()) == ["price", "price_2", "price_3", "score_", "score_linear_", "churn_2"]


@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=12))
def test_any_names_are_told_apart_and_need_no_escape(found):
    ours = names.tidy_all(found)
    assert len({*ours.values()}) == len(found)
    assert all(len(name.encode()) <= 63 and not re.search(r"[\s\"':%\\;]", name) for name in ours.values())
    assert not {*ours.values()} & names.TAKEN


def test_a_column_is_found_whatever_its_case_if_there_is_one():
    assert names.find("CHURN", ["Churn", "id"], "--target") == "Churn"
    assert names.find("a", ["A", "a"], "--target") == "a"
    with pytest.raises(EvergreenError, match=r'It has "c0", "c1", .*"c19" and 5 more\.$'):
        names.find("gone", [f"c{number}" for number in range(25)], "--id")
    with pytest.raises(EvergreenError, match=r'--target \'A B\': the table has no such column\. Near it: "A_B"\.'):
        names.find("A B", ["A_B", "x"], "--target")


def test_an_option_lists_names_with_commas_in_quotes():
    assert names.listed('A, "b, c" ,d') == ["A", "b, c", "d"]
    assert names.listed("") == []
