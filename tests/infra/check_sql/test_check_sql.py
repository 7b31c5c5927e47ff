"""`evergreen data check-sql` on a real Postgres: what looks ahead is found and named, and nothing is left behind."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.check_sql import available_at, clock, command, compare
from cli.check_sql.scratch import PREFIX
from infra.stack.postgres_server import on_database
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from tests.support.clones import bare_environment, wait_for

ROOT = Path(__file__).parents[3]
AS_OF = dt.date(2024, 8, 31)
TABLES = """
    create schema crm;
    create type crm.mood as enum ('good', 'bad');
    create table crm.customers as
    select
        n as id, date '2024-01-01' + n * 2 as known, 'p' || n % 3 as plan, (array['good', 'bad'])[1 + n % 2]::crm.mood as mood
    from generate_series(1, 90) as n;
    create table crm."Events: all" as
    select
        1 + n % 90 as "Who?", timestamp '2024-01-01 08:00' + n * interval '3 hours' as "At, known",
        (n * 7919) % 100 + 0.25 as amount
    from generate_series(0, 2100) as n;
    create table crm.departures as
    select n * 3 as id, date '2024-02-01' + n * 7 as left_on, date '2024-02-03' + n * 7 as known
    from generate_series(1, 30) as n;
    create view crm.purchases as select "Who?" as id, "At, known"::date as day, amount from crm."Events: all" where amount > 3;
    create table crm.plans as select 'p' || n as plan, n as level from generate_series(0, 2) as n;
"""
QUERY = """
with snapshots as (
    select (first_day + interval '1 month')::date - 1 as snapshot_date
    from
        generate_series(
            date_trunc('month', (cast(:as_of as date) - cast(:history_days as int))::timestamp),
            date_trunc(
                'month',
                (cast(:as_of as date) - cast(:horizon_days as int) - cast(:embargo_days as int) + 1)::timestamp
            ) - interval '1 month',
            interval '1 month'
        ) as first_day
    union
    select cast(:as_of as date)
    where cast(:history_days as int) + cast(:horizon_days as int) + cast(:embargo_days as int) = 0
),

departures as (
    select id, left_on from crm.departures
    where known <= cast(:as_of as date)
),

population as (
    select customers.*, snapshot_date, coalesce(left_on <= snapshot_date + cast(:horizon_days as int), false)::int as churned
    from crm.customers
    inner join snapshots on customers.known <= snapshot_date
    left join departures using (id)
    where left_on is null or left_on > snapshot_date
)

select
    population.id as customer_id, snapshot_date, churned, level, mood,
    snapshot_date - population.known as age,
    events.spent::float8 as spent, bought.often::int as often
from population
inner join crm.plans using (plan)
left join lateral (
    select sum(amount) as spent
    from crm."Events: all" as event
    where event."Who?" = population.id and event."At, known" < population.snapshot_date + 1
) as events on true
left join lateral (
    select count(*) as often
    from crm.purchases
    where purchases.id = population.id and purchases.day <= population.snapshot_date
) as bought on true
order by 1, 2
"""
KNOWN = """
crm.customers: known
crm.departures: known
"crm.Events: all": "At, known"
crm.plans: {timeless: the price list has been the same since the company began}
"""


class Company:
    """A source that is read by a role with nothing but SELECT, a database of ours, and a dataset's folder."""

    def __init__(self, folder: Path, source: str, ours: str) -> None:
        self.folder, self.source, self.said = folder, source, []
        with postgres.connect(source) as connection:
            connection.execute("drop role if exists check_reader; create role check_reader login password 'check'")
            connection.execute(TABLES)
            connection.execute(
                "grant usage on schema crm to check_reader; grant select on all tables in schema crm to check_reader"
            )
        reader = re.sub("//.*@", "//check_reader:check@", source)
        self.environment = {"SOURCE_URL": reader, "EVERGREEN_URL": ours}
        config = params.read(ROOT / "params.yaml")
        windows = {"history_days": 150, "horizon_days": 30, "embargo_days": 5}
        data = {"dataset": "crm", "as_of": AS_OF, "fingerprint": "f", "entity": "customer_id", "target": "churned"}
        self.config = config.model_copy(update={"data": config.data.model_copy(update=data | windows)})
        self.write(QUERY)

    def write(self, query: str, known: str = KNOWN) -> None:
        (self.folder / "training_set.sql").write_text(query)
        (self.folder / "available_at.yaml").write_text(known)

    def execute(self, *statements: str) -> None:
        with postgres.connect(self.source) as connection:
            for statement in statements:
                connection.execute(statement)

    def check(self, **request) -> bool:
        self.said = []
        settings = Settings.load_from(self.folder, self.environment)
        return command.run(settings, self.config, self.folder, command.Request(**request), self.said.append)

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    @property
    def wrong(self) -> str:
        """What was found, without what is all right."""
        return "\n".join(line for line in self.said if line.startswith(("WRONG", "      ")))

    def scratch(self) -> list[str]:
        with postgres.connect(self.source) as connection:
            rows = connection.execute("select datname from pg_database where starts_with(datname, %s)", (PREFIX,))
            return [name for (name,) in rows.fetchall()]

    def state(self) -> list[tuple]:
        """The source's relations, with their owners and files: a table that was written anew has another one."""
        with postgres.connect(self.source) as connection:
            return connection.execute(
                "select pg_class.relname, relkind, relowner, relfilenode, coalesce(n_tup_ins + n_tup_upd + n_tup_del, 0)"
                " from pg_class left join pg_stat_all_tables on relid = pg_class.oid where relnamespace = 'crm'::regnamespace"
                " order by pg_class.relname"
            ).fetchall()


@pytest.fixture
def company(tmp_path, company_url, ledger_url):
    found = Company(tmp_path, company_url, ledger_url)
    yield found
    assert found.scratch() == []
    found.execute("drop owned by check_reader; drop role check_reader")


def replaced(old: str, new: str, text: str = QUERY) -> str:
    assert old in text
    return text.replace(old, new)


# what is time-safe


def test_a_time_safe_query_is_proven_and_leaves_nothing_behind(company):
    before = company.state()
    assert company.check(), company.text
    assert company.wrong.count("WRONG") == 0
    for about in ("as of 2024-08-31", "features of snapshot 2024-06-30", "labels of snapshot"):
        assert re.search(rf"ok +.*{about}.*: [1-9]\d* rows are the same", company.text), company.text
    assert company.state() == before


def test_it_counts_what_it_copies_and_only_what_was_known(company):
    company.execute("insert into crm.customers values (1000, '2024-09-01', 'p1', 'good')")
    assert company.check()
    assert "crm.customers 90" in company.text


def test_neither_order_of_rows_nor_noise_of_float_sums_is_a_difference(company_url):
    with postgres.connect(company_url) as connection:
        one = "select * from (values (1, 0.1::float8 + 0.2::float8, 1.0), (2, 'nan', 2.0), (2, null, 2.0)) as t (id, x, exact)"
        other = "select * from (values (2, null::float8, 2.0), (2, 'nan', 2.0), (1, 0.3::float8, 1.0)) as t (id, x, exact)"
        assert compare.compare(connection, one, other, ["id"], ["x", "exact"]).is_none
        changed = other.replace("0.3::float8, 1.0", "0.3001::float8, 1.0000000000001")
        assert set(compare.compare(connection, one, changed, ["id"], ["x", "exact"]).columns) == {"x", "exact"}
        gone = compare.compare(connection, one, f"{other} where id = 2", ["id"], ["x"])
        assert (gone.rows, gone.only_first, gone.only_second) == (2, 1, 0)


def test_a_table_without_time_has_nothing_to_prove(company):
    data = company.config.data.model_copy(update={"time": None, "as_of": "timeless"})
    company.config = company.config.model_copy(update={"data": data})
    assert company.check()
    assert "nothing to prove" in company.text


# what is not

MISTAKES = {
    "a table without its filter": (
        ('and event."At, known" < population.snapshot_date + 1', ""),
        [r"as of 2024-08-31.*\n +spent: [\d,]+ of .* rows differ: by rows of crm\.Events: all that"],
    ),
    "a filter that allows until the pin": (
        ("< population.snapshot_date + 1", "< cast(:as_of as date) + 1"),
        [r"features of snapshot 2024-0.*\n +spent: .*by rows of crm\.Events: all that"],
    ),
    "the same in a view, whose table is named": (
        ("and purchases.day <= population.snapshot_date", ""),
        [r"as of 2024-08-31.*\n +often: .*by rows of crm\.Events: all that", r"features of.*\n +often"],
    ),
    "rows that did not exist yet": (
        ("on customers.known <= snapshot_date", "on customers.known <= cast(:as_of as date)"),
        [r"features of snapshot.*\n +[\d,]+ rows are there in training only: by rows of crm\.customers that"],
    ),
    "a label without its horizon": (
        ("coalesce(left_on <= snapshot_date + cast(:horizon_days as int), false)", "(left_on is not null)"),
        [r"labels of snapshot .*\n +churned: \d+ of .*by rows of crm\.departures that"],
    ),
    "a label read past the pin": (
        ("where known <= cast(:as_of as date)", ""),
        [r"as of 20.*\n(?:.*\n)*? +churned: \d+ of .*by rows of crm\.departures that|rows are there"],
    ),
    "a feature that is another one when scoring": (
        ("snapshot_date - population.known as age", "snapshot_date - population.known + cast(:horizon_days as int) as age"),
        [r"features of.*\n +age: (\d+) of \1 rows differ", "mean something else when all windows are 0"],
    ),
    "the clock": (
        ("snapshot_date - population.known as age", "current_date - population.known as age"),
        [r"the clock: the query has `current_date`.*\n +age: "],
    ),
    "the clock as a function": (
        ("snapshot_date - population.known as age", "now()::date - population.known as age"),
        [r"`now\(\)`.*\n +age: "],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found_and_named(company, mistake):
    change, expected = MISTAKES[mistake]
    if mistake == "a label read past the pin":  # what was recorded late makes the difference
        company.execute("update crm.departures set known = '2024-10-01' where id % 2 = 0")
    company.write(replaced(*change))
    assert not company.check()
    for line in expected:
        assert re.search(line, company.wrong), company.text


def test_of_several_tables_only_the_guilty_one_is_named(company):
    company.write(replaced('and event."At, known" < population.snapshot_date + 1', ""))
    company.check()
    assert "spent" in company.wrong
    assert not re.search(r"by rows of .*(customers|departures)", company.wrong), company.text
    assert not re.search(r"^ +(often|age|level|mood):", company.wrong, re.MULTILINE)


def test_no_value_of_a_row_is_said(company):
    company.execute("update crm.customers set plan = 'p1', mood = 'bad'", "update crm.plans set plan = 'p1', level = 987654")
    company.write(replaced('and event."At, known" < population.snapshot_date + 1', ""))
    company.check()
    assert "987654" not in company.text and "bad" not in company.text


def test_a_clock_that_changes_nothing_is_a_note(company):
    company.write(replaced("where left_on is null", "where current_date > '2000-01-01' and (left_on is null"))
    company.write(company.folder.joinpath("training_set.sql").read_text().replace("> snapshot_date\n)", "> snapshot_date)\n)"))
    assert company.check(), company.text
    assert "no column changes with it" in company.text


def test_a_view_that_asks_for_the_day_is_found(company):
    company.execute(
        "create view crm.recent as select id, current_date - known as since from crm.customers",
        "grant select on crm.recent to check_reader",
    )
    company.write(
        replaced("from population\n", "from population\ninner join crm.recent using (id)\n").replace(
            " as age,", " as age, since,"
        )
    )
    assert not company.check()
    assert re.search(r"a view that asks for the day.*\n +since: ", company.wrong), company.text


def test_a_column_filled_in_later_than_its_row_is_null_until_then(company):
    company.execute(
        "alter table crm.customers add closed date, add reason text",
        "update crm.customers set closed = known + 120, reason = 'moved' where id % 2 = 0",
    )
    known = KNOWN.replace("crm.customers: known", "crm.customers: {available_at: known, columns: {reason: closed}}")
    company.write(replaced("snapshot_date - population.known as age", "reason as age"), known)
    assert not company.check()
    assert re.search(
        r"features of.*\n +age: \d+ of \d+ rows differ, \d+ of them NULL when scored.*crm\.customers", company.wrong
    )
    company.write(
        replaced("snapshot_date - population.known as age", "case when closed <= snapshot_date then reason end as age"), known
    )
    assert company.check(), company.text


def test_corrections_of_the_past_may_change_it_where_that_is_said(company):
    company.execute(
        "create table crm.wrong_months as select date '2024-05-01' as month, date '2024-07-20' as known",
        "grant select on crm.wrong_months to check_reader",
    )
    excluded = (
        "< population.snapshot_date + 1 and not exists (select from crm.wrong_months as wrong where wrong.known <= "
        "cast(:as_of as date) and date_trunc('month', event.\"At, known\") = wrong.month)"
    )
    company.write(replaced("< population.snapshot_date + 1", excluded), f"{KNOWN}crm.wrong_months: known\n")
    assert not company.check()
    assert "by rows of crm.wrong_months" in company.wrong
    said = "crm.wrong_months: {available_at: known, corrects: a broken month counts for nobody}"
    company.write(replaced("< population.snapshot_date + 1", excluded), f"{KNOWN}{said}\n")
    assert company.check(), company.text


def test_outcomes_are_checked_too(company):
    safe = (
        "select id as customer_id, day as snapshot_date, 1 as churned, known as available_at from crm.departures, "
        "unnest(cast(:score_days as date [])) as day where left_on > day and known <= cast(:as_of as date)"
    )
    (company.folder / "outcomes.sql").write_text(safe)
    assert company.check(), company.text
    company.execute("update crm.departures set known = '2024-10-01' where id % 2 = 0")
    (company.folder / "outcomes.sql").write_text(safe.replace(" and known <= cast(:as_of as date)", ""))
    assert not company.check()
    assert re.search(
        r"outcomes\.sql as of 2024-08-31.*\n +\d+ rows are there with later rows only: by .*departures", company.wrong
    )


# what cannot be checked


def refused(company, match, **request):
    with pytest.raises(EvergreenError, match=match):
        company.check(**request)


def test_a_table_that_says_nothing_is_refused_with_its_dates(company):
    company.write(QUERY, KNOWN.replace("crm.departures: known", ""))
    refused(company, r"says nothing of crm\.departures.*dates and timestamps: left_on, known\. Or")


def test_a_day_that_is_none_is_refused(company):
    company.write(QUERY, KNOWN.replace("crm.departures: known", "crm.departures: knwon"))
    refused(company, r"crm\.departures: 'knwon' is neither a date or timestamp")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("crm.plans: {timeless: ''}", "write available_at with a column, or timeless with a reason"),
        ("crm.plans: null", "neither a column nor"),
        ("crm.plans: {known: x}", "known"),
        ("- crm.plans", "one line a table"),
        ("a: b: c", "is not YAML"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, text, match):
    (tmp_path / "available_at.yaml").write_text(text)
    with pytest.raises(EvergreenError, match=match):
        available_at.read(tmp_path / "available_at.yaml")


def test_a_view_over_closed_tables_is_named_itself(company):
    company.execute('revoke select on crm."Events: all" from check_reader')
    query = replaced('and event."At, known" < population.snapshot_date + 1', "")
    query = replaced('from crm."Events: all" as event', 'from (select 0 as "Who?", 1 as amount) as event', query)
    company.write(query)
    refused(company, r"may not read crm\.Events: all.*Name the view itself")
    company.write(query, f"{KNOWN}crm.purchases: day\n")
    assert company.check(), company.text
    company.write(query.replace("and purchases.day <= population.snapshot_date", ""), f"{KNOWN}crm.purchases: day\n")
    assert not company.check()
    assert "by rows of crm.purchases" in company.wrong


def test_too_many_rows_are_refused_unless_forced(company):
    refused(company, r"[\d,]+ rows are more than 100", most_rows=100)
    assert company.check(most_rows=100, force=True)


def test_a_role_that_makes_no_databases_is_told_the_grant(company):
    company.execute("drop role if exists check_owner", "create role check_owner login password 'check'")
    ours = company.environment["EVERGREEN_URL"]
    company.environment["EVERGREEN_URL"] = re.sub("//.*@", "//check_owner:check@", ours)
    refused(company, r'alter role "check_owner" createdb;')
    company.execute("alter role check_owner createdb")
    assert company.check(), company.text
    company.execute("drop role check_owner")


def test_a_day_without_rows_proves_nothing(company):
    refused(company, "0 rows are known as of 2020-01-31", days=(dt.date(2020, 1, 31),))


def test_an_error_of_the_query_leaves_nothing(company):
    company.write(replaced("snapshot_date - population.known as age", "1 / (level - level) as age"))
    refused(company, "division by zero")
    assert company.scratch() == []


def test_what_a_killed_command_left_is_swept(company):
    with postgres.connect(company.source) as connection:
        connection.autocommit = True
        connection.execute(f"create database {PREFIX}1700000000_dead")
    assert company.check()
    assert company.scratch() == []


# the command


@pytest.fixture
def clone(company, tmp_path_factory):
    """A folder in which the command runs by itself."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(company.folder, folder / "sql" / "crm")
    text = (ROOT / "params.yaml").read_text()
    changes = {
        "dataset: churn ": "dataset: crm ",
        "history_days: 366": "history_days: 150",
        "embargo_days: 14": "embargo_days: 5",
        "protected: [gender, age_band]": "protected: []",
        "exclude: [gender]": "exclude: []",
    }
    for old, new in changes.items():
        text = replaced(old, new, text)
    (folder / "params.yaml").write_text(text)
    params.write_pin(folder / "params.yaml", "2024-08-31", "abc")
    (folder / ".env").write_text("".join(f"{name}='{url}'\n" for name, url in company.environment.items()))
    return folder


def begin(clone: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.app", "data", "check-sql", *options],
        cwd=clone,
        env=bare_environment() | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell's background jobs ignore SIGINT, and so would this one if the tests are such a job
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_it_exits_with_0_when_proven_and_1_when_not(clone):
    process = begin(clone, "--as-of", "2024-08-31", "--analyze")
    assert (process.communicate(timeout=120)[0].count("WRONG"), process.returncode) == (0, 0)
    query = clone / "sql" / "crm" / "training_set.sql"
    query.write_text(query.read_text().replace("and purchases.day <= population.snapshot_date", ""))
    process = begin(clone)
    said = process.communicate(timeout=120)[0]
    assert ("NOT time-safe" in said, process.returncode) == (True, 1)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_no_database(clone, company, stop):
    query = clone / "sql" / "crm" / "training_set.sql"
    query.write_text(
        query.read_text().replace("select sum(amount) as spent", "select sum(amount) + count(pg_sleep(0.05)) as spent")
    )
    process = begin(clone)
    wait_for(company.scratch, 60, "a scratch database")
    os.kill(process.pid, stop)
    said = process.communicate(timeout=60)[0]
    assert process.returncode not in {0, 1}, said
    assert company.scratch() == []


# words that ask for the day


@pytest.mark.parametrize(
    "text",
    ["current_date", "CURRENT_TIMESTAMP", "current_timestamp(3)", "now()", "pg_catalog.now( )", "clock_timestamp()",
     "localtimestamp", "date 'today'", "'now'::timestamp", "cast('yesterday' as date)"],
)  # fmt: skip
def test_what_asks_for_the_day_is_replaced(text):
    assert clock.asked(f"select {text} as x") == [text]
    assert re.fullmatch(
        r"select \((date|timestamp|timestamptz) '2024-01-02( 12:00\+00)?'\) as x",
        clock.stopped(f"select {text} as x", dt.date(2024, 1, 2)),
    )


@pytest.mark.parametrize(
    "text", ["'now'", "'current_date'", '"current_date"', '"now()"', "mine.now()", "known()", "t.current_dates"]
)
def test_what_only_looks_like_it_is_left(text):
    assert clock.asked(f"select {text}") == []
    assert clock.stopped(f"select {text}", dt.date(2024, 1, 2)) == f"select {text}"


def test_its_database_is_ours_alone(company):
    """While it is there nobody else may connect to the copies."""
    seen = []

    def look(_line):
        if not seen:
            (name,) = company.scratch()
            reader = on_database(company.environment["SOURCE_URL"], name)
            with pytest.raises(EvergreenError, match="permission denied"), postgres.connect(reader):
                pass
            seen.append(name)

    settings = Settings.load_from(company.folder, company.environment)
    assert command.run(settings, company.config, company.folder, command.Request(), look)
    assert seen


def test_later_rows_are_bounded_too(company):
    later = "timestamp '2024-09-05' + n * interval '1 minute'"
    company.execute(f'insert into crm."Events: all" select 1, {later}, 1 from generate_series(1, 3000) as n')
    company.write(replaced('and event."At, known" < population.snapshot_date + 1', ""))
    assert not company.check(most_rows=2500)
    assert "too many rows became known later" in company.text
    assert not company.check(most_rows=2500, force=True)
    assert "by rows of crm.Events: all" in company.wrong
