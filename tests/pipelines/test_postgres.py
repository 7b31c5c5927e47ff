"""Statements from files: what is bound, and what only looks like it."""

import datetime

import pytest

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres


@pytest.mark.parametrize(
    "statement",
    [
        """select "a :as_of", "50%", '10 :as_of %s', 1::int -- :as_of 'x""",
        """select "it's", ':as_of /* ''' /* :as_of */""",
        """select "a""b:as_of", array[1, 2, 3][1:2]""",
    ],
)
def test_what_stands_in_quotes_and_comments_is_no_placeholder(statement):
    assert postgres.placeholders(postgres.without_comments(statement)) == set()
    bound = postgres.bind_text(statement, {}, "x.sql")
    assert bound == postgres.without_comments(statement)


def test_values_are_bound_as_literals(tmp_path):
    (tmp_path / "q.sql").write_text("select cast(:as_of as date), :name, :many::text[] ;\n")
    values = {"as_of": datetime.date(2024, 1, 31), "name": "it's :as_of", "many": ["a"], "unused": None}
    assert postgres.bind(tmp_path / "q.sql", values) == (
        "select cast('2024-01-31'::date as date), 'it''s :as_of', '{a}'::text[]"
    )


def test_a_placeholder_that_nothing_binds_is_named(tmp_path):
    (tmp_path / "q.sql").write_text("select :as_of, :other")
    with pytest.raises(EvergreenError, match=r"q\.sql: nothing binds :other\. Known: :as_of"):
        postgres.bind(tmp_path / "q.sql", {"as_of": None})
