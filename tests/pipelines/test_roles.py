"""Roles: every right of every role on everything there is in our databases, as the catalogue lists it and as it is refused."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from infra.stack import postgres_server
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import PARTS, Settings
from pipelines.data import postgres
from pipelines.registry import ledger, roles, schema
from pipelines.scoring import predictions
from tests.conftest import free_ports
from tests.support.ledgers import register

PASSWORDS = {role: f"only-for-{role}" for role in postgres_server.ROLES}
LIMITED = (*PARTS, "reader", "stranger")  # everybody but the owners; a stranger has what PUBLIC has
VERBS = {"s": "SELECT", "i": "INSERT", "u": "UPDATE", "d": "DELETE", "t": "TRUNCATE", "r": "REFERENCES", "g": "TRIGGER"}
VERBS |= {"m": "MAINTAIN"}
DAY = dt.date(2025, 1, 31)

# What is not named is refused. A new table, view, function or schema fails the test until it stands here.
RELATIONS = {
    "evergreen.alembic_version": {},
    "evergreen.model_versions": {"promoter": "si", "scorer": "s", "watcher": "s"},
    "evergreen.promotions": {"promoter": "si", "scorer": "s", "watcher": "s"},
    "evergreen.champions": {"promoter": "s", "scorer": "s", "watcher": "s"},
    "evergreen.retrainings": {"promoter": "siu", "watcher": "s"},
    "evergreen.scoring_runs": {"scorer": "siu", "watcher": "s"},
    "evergreen.predictions": {"scorer": "i", "watcher": "s"},
    "evergreen.predictions_2025_01": {},
    "evergreen.outcomes": {"watcher": "si"},
    "evergreen.current_outcomes": {"watcher": "s"},
    "evergreen.latest_runs": {"watcher": "s"},
    "evergreen.latest_scores": {"watcher": "s"},
    "evergreen.judged_runs": {"watcher": "s"},
    "evergreen.replaced_runs": {},
    "evergreen.profiles": {"scorer": "si", "watcher": "si"},
    "evergreen.verdicts": {"watcher": "si"},
    "evergreen.current_verdicts": {"watcher": "s"},
    "evergreen.notifications": {"watcher": "si"},
    "evergreen.performances": {"watcher": "si"},
    "evergreen.erasures": {},
    "evergreen.api_keys": {"scorer": "s"},
    "evergreen.log_segments": {"scorer": "siud"},
}
FUNCTIONS = {
    "evergreen.predictions_partition(date)": {"scorer"},
    "evergreen.entities_in_run(text,text,date,text[])": {"scorer"},
    "evergreen.refuse_change()": set(),
    "evergreen.refuse_row_change()": set(),
    "evergreen.erase_entity(text,text)": set(),
    "evergreen.erase_run(text,text)": set(),
}
SCHEMAS = {  # usage, create
    "evergreen": {"promoter": "u", "scorer": "u", "watcher": "u"},
    "optuna": {"promoter": "uc"},
    "public": dict.fromkeys((*LIMITED,), "u"),
}
DATABASES = {  # connect, create, temporary
    "evergreen": {"promoter": "c", "scorer": "c", "watcher": "ct"},
    "company": {"reader": "c"},
    "mlflow": {},
    "prefect": {},
    "postgres": {},
    "template0": {},
    "template1": {},
}
COLUMNS = {  # where a right is on some columns only
    ("scorer", "evergreen.scoring_runs"): {"state", "row_count", "last_entity", "updated_at"},
    ("scorer", "evergreen.log_segments"): {"sent_bytes", "updated_at"},
    ("promoter", "evergreen.retrainings"): {"ended_at", "outcome", "version"},
}
NEVER = [
    "set role evergreen",
    "set role postgres",
    "set session authorization evergreen",
    "alter role current_user superuser",
    "create role mine",
    "select pg_read_file('/etc/hostname')",
    "select pg_ls_dir('/')",
    "copy (select 1) to '/dev/null'",
    "copy (select 1) to program 'true'",
    "select lo_import('/etc/hostname')",
    "set session_replication_role = replica",
    "alter table evergreen.predictions disable trigger all",
    "alter table evergreen.model_versions disable trigger append_only",
    "drop trigger append_only on evergreen.outcomes",
    "create or replace function evergreen.refuse_change() returns trigger language plpgsql as 'begin return old; end'",
    "drop table evergreen.notifications",
    "create table evergreen.mine (id int)",
    "create table public.mine (id int)",
    "create schema mine",
    "create extension dblink",
    "alter system set log_statement = 'all'",
    "set evergreen.erasing = 'on'; delete from evergreen.outcomes",
    "set evergreen.erasing = 'on'; delete from evergreen.predictions",
    "select evergreen.erase_entity('churn', 'somebody')",
]


@dataclass(frozen=True)
class Server:
    admin: str  # the superuser's URL

    def url(self, role: str, database: str = "evergreen") -> str:
        word = PASSWORDS.get(role, "only-for-stranger")
        there = postgres_server.on_database(self.admin, database)
        return there.replace(f"postgres:{PASSWORDS['postgres']}", f"{role}:{word}")

    def asked(self, statement: str, database: str = "evergreen") -> list[tuple]:
        with postgres.connect(postgres_server.on_database(self.admin, database)) as admin:
            return admin.execute(statement).fetchall()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An embedded server as `evergreen up` prepares it, with a version, a month of predictions and a stranger."""
    folder = tmp_path_factory.mktemp("roles")
    with postgres_server.running(folder / "data", free_ports(1)[0], PASSWORDS["postgres"]) as admin:
        postgres_server.prepare(admin, PASSWORDS)
        found = Server(admin)
        with postgres.connect(admin) as connection:
            connection.execute("create role stranger login password 'only-for-stranger'")
        ledger.migrate(found.url("evergreen"))
        roles.grant(found.url("evergreen"), {kind: kind for kind in PARTS})
        register(found.url("promoter"), "a")
        with postgres.connect(found.url("scorer")) as scorer:
            schema.query(scorer, "make_partition", as_of=DAY)
        yield found
    shutil.rmtree(folder)


def letters(has: list[tuple]) -> str:
    return "".join(letter for letter, yes in has if yes)


def test_every_right_on_every_table_and_view_is_classified(server):
    found = server.asked(
        "select oid::regclass::text from pg_class where relkind in ('r', 'p', 'v', 'm', 'f') "
        "and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) "
        "and relnamespace::regnamespace::text not like 'pg_toast%'"
    )
    assert {name for (name,) in found} == set(RELATIONS)
    for name, rights in RELATIONS.items():
        for role in LIMITED:
            kinds = {letter: "any_column" if letter in "siur" else "table" for letter in VERBS}
            asked = ", ".join(
                f"('{letter}', has_{kinds[letter]}_privilege('{role}', '{name}', '{verb}'))" for letter, verb in VERBS.items()
            )
            has = letters(server.asked(f"select * from (values {asked}) as rights (letter, has)"))
            assert has == "".join(letter for letter in VERBS if letter in rights.get(role, "")), f"{role} on {name}"


@pytest.mark.parametrize(("role", "name"), COLUMNS)
def test_a_row_that_moves_can_be_moved_in_some_columns_only(server, role, name):
    found = server.asked(
        f"select attname from pg_attribute where attrelid = '{name}'::regclass and attnum > 0 "
        f"and has_column_privilege('{role}', attrelid, attname, 'UPDATE')"
    )
    assert {column for (column,) in found} == COLUMNS[role, name]


def test_every_function_is_classified(server):
    found = server.asked(
        "select oid::regprocedure::text from pg_proc "
        "where pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
    )
    assert {name for (name,) in found} == set(FUNCTIONS)
    for name, allowed in FUNCTIONS.items():
        has = server.asked(f"select rolname from pg_roles where has_function_privilege(rolname, '{name}', 'EXECUTE')")
        assert {role for (role,) in has} & set(LIMITED) == allowed, name


def test_no_sequence_is_open_to_anybody(server):
    found = server.asked(
        "select relname, rolname from pg_class, pg_roles where relkind = 'S' and rolname = any("
        f"array{list(LIMITED)}) and has_sequence_privilege(rolname, pg_class.oid, 'USAGE, SELECT, UPDATE')"
    )
    assert found == []


def test_every_schema_and_database_is_classified(server):
    schemas = server.asked("select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)'")
    assert {name for (name,) in schemas} == set(SCHEMAS)
    databases = server.asked("select datname from pg_database")
    assert {name for (name,) in databases} == set(DATABASES)
    for kind, listed, verbs in (
        ("schema", SCHEMAS, {"u": "USAGE", "c": "CREATE"}),
        ("database", DATABASES, {"c": "CONNECT", "C": "CREATE", "t": "TEMPORARY"}),
    ):
        for name, rights in listed.items():
            for role in LIMITED:
                asked = ", ".join(
                    f"('{letter}', has_{kind}_privilege('{role}', '{name}', '{verb}'))" for letter, verb in verbs.items()
                )
                has = letters(server.asked(f"select * from (values {asked}) as rights (letter, has)"))
                # the databases of the server itself are closed by pg_hba or hold nothing: template0 takes no connection
                if name != "template0":
                    assert has == rights.get(role, ""), f"{role} on {kind} {name}"


def statements(name: str, column: str) -> dict[str, str]:
    return {
        "s": f"select 1 from {name}",
        "i": f"insert into {name} default values",
        "u": f"update {name} set {column} = {column} where false",
        "d": f"delete from {name} where false",
        "t": f"truncate {name}",
    }


@pytest.mark.parametrize("role", PARTS)
def test_what_is_not_a_right_is_refused(server, role):
    """The catalogue's word is one thing; this is what the server does."""
    columns = server.asked("select attrelid::regclass::text, attname from pg_attribute where attnum > 0 and attidentity = ''")
    # a column of each table that no right is on alone
    fixed = {name: column for name, column in columns if column not in COLUMNS.get((role, name), ())}
    with psycopg.connect(server.url(role).replace("+psycopg", "")) as connection:
        for name, rights in RELATIONS.items():
            for letter, statement in statements(name, fixed[name]).items():
                refused = False
                try:
                    with connection.transaction(force_rollback=True):
                        connection.execute(statement)
                except psycopg.errors.InsufficientPrivilege:
                    refused = True
                except psycopg.Error:  # allowed, and impossible for another reason: a column that must not be null, a view
                    pass
                is_view_write = letter in "iudt" and rights.get(role, "") in {"", "s"} and not refused
                allowed = letter in rights.get(role, "").replace("u", "")  # updates: of the columns above
                assert refused != allowed or (is_view_write and _is_view(server, name)), f"{role}: {statement}"


def _is_view(server: Server, name: str) -> bool:
    """A view of several tables takes no rows from anybody, which is said before rights are asked."""
    return server.asked(f"select relkind = 'v' from pg_class where oid = '{name}'::regclass") == [(True,)]


@pytest.mark.parametrize("role", PARTS)
@pytest.mark.parametrize("statement", NEVER)
def test_nobody_becomes_somebody_else_reads_files_or_opens_the_doors(server, role, statement):
    with (
        psycopg.connect(server.url(role).replace("+psycopg", ""), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.mark.parametrize("role", [*PARTS, "reader", "stranger"])
@pytest.mark.parametrize("database", ["mlflow", "prefect", "company", "postgres"])
def test_other_databases_are_closed(server, role, database):
    if (role, database) == ("reader", "company"):
        return
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(server.url(role, database).replace("+psycopg", ""))


def test_each_role_can_do_its_work(server):
    promoter, scorer, watcher = (server.url(role) for role in PARTS)
    version = register(promoter, "b", model="work")
    ledger.promote(promoter, "work", 1, expected_revision=0, actor="tester", reason="first", verdict={})
    plan = predictions.Plan(model="work", version=1, as_of=DAY, horizon_days=30, embargo_days=14, query_sha256="0" * 64)
    run = predictions.begin(scorer, plan)
    assert run.as_champion
    with postgres.connect(scorer) as connection:
        writer = predictions.Writer(connection, run)
        writer.write(pa.array(["a", "b"]), np.array([0.1, 0.9]), np.array([False, True]), "{}")
        writer.finish()
    assert predictions.latest_run(watcher, "work").row_count == 2
    assert ledger.champion(watcher, "work").version == version.version
    with postgres.connect(watcher) as connection:
        assert len(connection.execute("select * from evergreen.latest_scores where model = 'work'").fetchall()) == 2
        connection.execute((schema.FOLDER / "queries" / "stage_outcomes.sql").read_text())
        connection.execute("insert into arrived_outcomes values ('a', 1, '2025-03-01')")
        values = {"model": "work", "as_of": DAY, "horizon_days": 30, "available_by": dt.date(2025, 4, 1)}
        assert schema.query(connection, "record_outcomes", **values)[0]["recorded"] == 1
    with ledger.retraining_lock(promoter, "work"), pytest.raises(EvergreenError, match=r"already running \(by evergreen\)"):
        ledger.retraining_lock(watcher, "work").__enter__()


def test_rights_of_an_earlier_day_are_taken_back(server):
    with postgres.connect(server.url("evergreen")) as owner:
        owner.execute("grant select on evergreen.outcomes to scorer")
        owner.execute("grant update on evergreen.promotions to promoter")
    roles.grant(server.url("evergreen"), {kind: kind for kind in PARTS})
    test_every_right_on_every_table_and_view_is_classified(server)


def test_one_role_for_two_kinds_of_work_has_the_rights_of_both(server):
    owner = server.url("evergreen")
    roles.grant(owner, {"promoter": "stranger", "scorer": "stranger"})
    try:
        with postgres.connect(owner) as connection:
            has = connection.execute(
                "select has_table_privilege('stranger', 'evergreen.predictions', 'INSERT'), "
                "has_table_privilege('stranger', 'evergreen.promotions', 'INSERT')"
            ).fetchone()
        assert has == (True, True)
    finally:
        with postgres.connect(owner) as connection:
            roles._execute(connection, "nothing", "stranger")
            connection.execute("revoke connect on database evergreen from stranger")


def test_settings_name_the_role_of_each_kind_of_work(tmp_path):
    own = {"EVERGREEN_URL": "postgresql://owner:word@host/ours", "SCORER_URL": "postgresql://writer:word@host/ours"}
    settings = Settings.load_from(tmp_path, own)
    assert (roles.name_of(settings.scorer_url), roles.name_of(settings.promoter_url)) == ("writer", "owner")
    assert roles.of(settings) == {"scorer": "writer"}
    assert roles.of(Settings.load_from(tmp_path, settings.environment())) == {"scorer": "writer"}
    with pytest.raises(EvergreenError, match="SCORER_URL without EVERGREEN_URL"):
        Settings.load_from(tmp_path, {"SCORER_URL": own["SCORER_URL"]})


def test_the_api_logs_and_knows_keys_by_the_role_that_scores(server, tmp_path):
    from serving import keys
    from serving.sender import Sender
    from tests.support.records import record, written

    key = keys.create(server.url("evergreen"), "somebody", ["predict"])
    register(server.url("promoter"), "c", model="logged")
    scorer = server.url("scorer")
    with postgres.connect(scorer) as connection:
        assert keys.Keyring.of(schema.query(connection, "api_keys")).scopes(f"Bearer {key}".encode()) == {"predict"}
    written(tmp_path / "log", record("anna"), record("anna"))
    assert Sender(scorer, "logged", tmp_path / "log").round() == 2
    Sender(scorer, "logged", tmp_path / "log").end_runs(dt.date(2030, 1, 1))
    for refused in ("select features from evergreen.predictions", "insert into evergreen.api_keys values ('0')"):
        with pytest.raises(EvergreenError, match="permission denied"), postgres.connect(scorer) as connection:
            connection.execute(refused)
