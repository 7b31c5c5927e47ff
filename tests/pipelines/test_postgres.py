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
    assert bound == f"/* x.sql line 1 */ {postgres.without_comments(statement)}"


def test_values_are_bound_as_literals(tmp_path):
    (tmp_path / "q.sql").write_text("select cast(:as_of as date), :name, :many::text[] ;\n")
    values = {"as_of": datetime.date(2024, 1, 31), "name": "it's :as_of", "many": ["a"], "unused": None}
    bound = postgres.bind(tmp_path / "q.sql", values)
    assert bound.partition(" */ ")[2] == ("select cast('2024-01-31'::date as date), 'it''s :as_of', '{a}'::text[]")


def test_a_placeholder_that_nothing_binds_is_named(tmp_path):
    (tmp_path / "q.sql").write_text("select :as_of, :other")
    with pytest.raises(EvergreenError, match=r"q\.sql: nothing binds :other\. Known: :as_of"):
        postgres.bind(tmp_path / "q.sql", {"as_of": None})


QUERY = """-- Grain: one row.
/* A comment
of two lines, with :as_of */

select 1 as first,
    -- and another
    :as_of::date as day,
    no_such_column
"""


def test_an_error_names_the_file_and_the_line_of_the_query(tmp_path, ledger_url):
    file = tmp_path / "sql" / "mine" / "training_set.sql"
    file.parent.mkdir(parents=True)
    file.write_text(QUERY)
    bound = postgres.bind(file, {"as_of": datetime.date(2024, 1, 31)})
    wrapped = f"select count(*)\nfrom ({bound}) as counted"
    with (
        postgres.snapshot(ledger_url) as source,
        pytest.raises(EvergreenError, match=r"sql/mine/training_set\.sql line 8: column"),
    ):
        source.value(wrapped)
    with (
        pytest.raises(EvergreenError, match=r"sql/mine/training_set\.sql line 8: column"),
        postgres.connect(ledger_url) as ours,
    ):
        ours.execute(f"explain {wrapped}")


def test_words_of_libpq_end_as_sentences_do():
    assert (
        postgres._words(ValueError("Connection refused\n\tIs the server running?"))
        == "Connection refused Is the server running?"
    )
    assert postgres._words(ValueError("IO: too many clients")) == "too many clients."


def test_an_error_at_run_time_names_the_file(tmp_path, ledger_url):
    (tmp_path / "q.sql").write_text("select 'x'::text::int")
    with postgres.snapshot(ledger_url) as source, pytest.raises(EvergreenError, match=r"q\.sql: invalid input syntax"):
        source.value(postgres.bind(tmp_path / "q.sql", {}))


@pytest.mark.parametrize("password", ["a", "evergreen", "relation", "does"])
def test_a_password_that_is_a_word_leaves_other_words_alone(password):
    url = f"postgresql+psycopg://reader:{password}@127.0.0.1/company"
    said = 'relation "evergreen.versions" does not exist, a missing table'
    assert postgres.redacted(said, password) == said
    assert postgres.redacted(f"not postgresql://x:{password}@host/y", password) == "not postgresql://x:***@host/y"
    assert postgres.redacted(f"host=x password={password} user=y", password) == "host=x password=*** user=y"
    assert "evergreen.versions" in str(postgres._explained(url, ValueError(said)))


def test_a_long_password_is_taken_out_wherever_it_stands():
    secret = "not-the-p@ssword"
    assert postgres.redacted(f'role "{secret}" is unknown', "not-the-p%40ssword") == 'role "***" is unknown'
    assert postgres.redacted(f"{secret}s", secret) == "***s"
    assert postgres.redacted('invalid percent-encoded token: "s%zz"', "s%zz") == 'invalid percent-encoded token: "***"'
