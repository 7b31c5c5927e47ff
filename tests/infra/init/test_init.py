"""`evergreen init` on a real Postgres: files that work as they are, or one sentence and nothing."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli.check_sql import command as check_sql
from cli.init import command, profile, source, write
from cli.init.survey import Options
from cli.load import load_file
from flows.execution.workspace import git
from pipelines import features
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import extract, postgres, split
from pipelines.validation import validate
from pipelines.validation.expectations import read_expectations
from tests.support import odd

ROOT = Path(__file__).parents[3]
BANK = ROOT.parent / "shared" / "cases" / "CLIENTNUM.csv"
SCORING = {"history_days": 0, "horizon_days": 0, "embargo_days": 0}


class Project:
    """A folder with the demo's params.yaml in git, and a source."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url, self.said = folder, url, []
        shutil.copy(ROOT / "params.yaml", folder)
        git(folder, "init", "--quiet")
        git(folder, "add", "params.yaml")
        git(folder, "commit", "--quiet", "--message", "Params")

    def init(self, place: str | Path, target: str = "churn", name: str = "mine", *, force: bool = False, **options) -> str:
        """What it says."""
        said: list[str] = []
        settings = Settings.load_from(self.folder, {"SOURCE_URL": self.url})
        command.run(settings, name, place, Options(target, **options), force=force, say=said.append)
        return "\n".join(said)

    def execute(self, *statements: str) -> None:
        with postgres.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def params(self) -> params.Params:
        return params.read(self.folder / "params.yaml")

    @property
    def queries(self) -> extract.Queries:
        return extract.Queries(self.folder / "sql" / "mine")

    def pin(self, as_of: str | None = None) -> params.DataParams:
        """The section `data`, pinned; params.yaml is pinned too."""
        pin = extract.pin(self.url, self.queries, self.params.data, as_of)
        params.write_pin(self.folder / "params.yaml", pin.as_of, pin.fingerprint)
        return self.params.data

    def extract(self, data: params.DataParams):
        rows = self.folder / "rows.parquet"
        extract.extract(self.url, self.queries, data, rows)
        return pq.read_table(rows)

    def rows(self, query: Path, **binds):
        with postgres.snapshot(self.url) as opened, opened.batches(postgres.bind(query, binds)) as batches:
            return batches.read_all().to_pylist()

    def score(self, as_of: str | None):
        return self.rows(self.queries.training_set, as_of=as_of, **SCORING)

    @property
    def files(self) -> set[str]:
        paths = [path for path in self.folder.rglob("*") if path.is_file() and ".git" not in path.parts]
        return {str(path.relative_to(self.folder)) for path in paths}


@pytest.fixture
def project(tmp_path, company_url):
    return Project(tmp_path, company_url)


CUSTOMERS = """
    create table crm.customers as
    select
        n as id, n % 7 as visits, (array['a', 'b', 'c'])[1 + n % 3] as plan,
        case when n % 10 = 9 then null when n % 3 = 0 and n % 5 < 3 then 'yes' else 'no' end as churn
    from generate_series(1, 600) as n"""
EVENTS = """
    create table crm.events as
    select
        date '2024-01-01' + (n / 4) as day, timestamp '2024-01-01 09:00' + n * interval '6 hours' as at, n as id, n % 50 as who,
        n % 7 as visits, date '2023-01-01' + n % 300 as joined, (n * 7919) % 10 < 3 as churn
    from generate_series(0, 1199) as n"""


@pytest.fixture
def customers(project):
    project.execute("create schema crm", CUSTOMERS)
    return project


@pytest.fixture
def events(project):
    project.execute("create schema crm", EVENTS)
    return project


def test_every_odd_name_and_value_gives_rows_that_can_be_learnt_from(project):
    odd.create(project.url)
    said = project.init(
        odd.TABLE, "will churn?", id="Customer No.", protected=("flag",), personal=("name",), available_after=("took",)
    )
    data = project.pin()
    rows = project.extract(data)
    folds = split.split(rows, data, project.params.split)["fold"].unique()
    assert (rows.num_rows, len(folds), len({*rows["customer_no"].to_pylist()})) == (1470, 8, 1470)
    assert {str(kind) for kind in rows.schema.types} <= {"string", "double", "int16", "int32", "int64", "bool"}
    assert {*rows["mood"].to_pylist()} == {"fine", "so:so", "100%"}
    assert {*rows["字段"].to_pylist()} == {"是", "否", None}
    assert 250 < rows["as_text"].null_count < 350
    assert {"fold_", "price", "price_2"} < {*rows.column_names}
    assert not {"took", "uuid", "as_json", "none", "only_blanks", "always", "again"} & {*rows.column_names}
    assert "40 rows repeat another as a whole" in said
    assert read_expectations(project.folder / "sql/mine/expectations.yaml")
    assert len(project.score(None)) == 1500  # those without a label too


@pytest.mark.skipif(not BANK.exists(), reason="the small inputs lie beside the project")
@pytest.mark.parametrize("kind", ["bigint", "double precision", "text"])
def test_a_number_that_names_customers_is_a_key_whatever_its_name(project, kind):
    load_file.load(project.url, BANK, "bank.customers")
    project.execute(f'alter table bank.customers alter "CLIENTNUM" type {kind} using "CLIENTNUM"::{kind}')
    said = project.init("bank.customers")
    assert project.params.data.entity == "clientnum"
    assert 'key clientnum: "CLIENTNUM"' in said and '"CLIENTNUM" looks like an id and became the key' in said
    project.execute("alter table bank.customers add id serial")
    said = project.init("bank.customers", id="id", force=True)
    assert 'left out "CLIENTNUM": looks like an id: whole numbers of 9 digits' in said


def test_values_of_its_own_in_several_lines_are_replaced_as_a_whole(customers):
    file = customers.folder / "params.yaml"
    before = customers.params.candidates["enabled"]
    lines = "".join(f"\n    {name}: {pool}" for name, pool in before.items())
    file.write_text(re.sub(r"  enabled: .*", f"  enabled:{lines}", file.read_text(), count=1))
    customers.init("crm.customers", force=True)
    assert {*customers.params.enabled} == {*before, "forest"}


def test_limits_hold_for_every_pin_that_it_names(events):
    said = events.init("crm.events", time="day", id="id", horizon=30, available_after=("at",), exclude=("who",))
    first = dt.date.fromisoformat(re.search(r"rows of a pin from (\S+) on", said)[1])
    suite = read_expectations(events.folder / "sql/mine/expectations.yaml")
    assert first < dt.date(2024, 6, 1) and events.params.validate_.min_rows < 300
    for as_of in (first, first + dt.timedelta(40), dt.date(2024, 8, 15), dt.date(2024, 10, 26)):
        data = events.pin(str(as_of))
        rows = events.extract(data)
        judged = validate.judge_rows(events.folder / "rows.parquet", suite, events.params)
        assert [check for check in judged.checks if not check.success and check.severity == "critical"] == [], as_of
        split.split(rows, data, events.params.split)


VISITS = """
    create table crm.visits as
    select
        n as visit, 'p' || n % 90 as patient, n % 7 as pills, (array['a', 'b', 'c'])[1 + n % 3] as ward,
        case when n % 10 = 9 then null when n % 3 = 0 and n % 5 < 3 then 'yes' else 'no' end as churn
    from generate_series(1, 900) as n"""


@pytest.fixture
def visits(project):
    project.execute("create schema crm", VISITS)
    return project


@pytest.mark.parametrize("own_key", [True, False])
def test_rows_of_a_group_have_keys_of_their_own_and_stay_together(visits, own_key):
    if not own_key:
        visits.execute("alter table crm.visits alter visit type float8 using (visit * 37 % 1009) / 7.0")
    said = visits.init("crm.visits", group="patient")
    data = visits.pin()
    key = "visit" if own_key else "row_id"
    assert (data.entity, data.row_key, data.time, data.key_columns) == ("patient", key, None, ["patient", key])
    assert f"Scores are of rows, kept by {key}" in said and "nothing can be said about time" in said
    rows = visits.extract(data)
    assert rows.num_rows == 810 and len({*rows[key].to_pylist()}) == 810 and len({*rows["patient"].to_pylist()}) == 81
    divided = split.split(rows, data, visits.params.split.model_copy(update={"folds": 3}))
    folds = {(row["patient"], row["fold"]) for row in divided.select(["patient", "fold"]).to_pylist()}
    assert len(folds) == 81 and {fold for _, fold in folds} == {0, 1, 2}
    learnt = features.learn_schema(rows, data, visits.params.features)
    assert {"patient", key}.isdisjoint({*learnt["numbers"], *learnt["categories"]})
    suite = read_expectations(visits.folder / "sql/mine/expectations.yaml")
    judged = validate.judge_rows(visits.folder / "rows.parquet", suite, visits.params)
    assert [check for check in judged.checks if not check.success] == []
    scored = visits.score(None)
    assert len(scored) == len({row[key] for row in scored}) == 900
    assert {row[key] for row in scored} > {*rows[key].to_pylist()}  # the same rows under the same keys


def test_rows_of_a_group_that_are_alike_count_once(visits):
    visits.execute("insert into crm.visits select visit, patient, pills, ward, churn from crm.visits where visit <= 90")
    visits.execute("alter table crm.visits drop visit")
    visits.init("crm.visits", group="patient")
    rows = visits.extract(visits.pin()).to_pylist()
    seen = [(row["patient"], row["pills"], row["ward"]) for row in rows]
    assert len(seen) == len({*seen})


def test_an_entity_that_comes_again_without_a_day_is_told_of_the_option(visits):
    with pytest.raises(EvergreenError, match="or name the entity by --group"):
        visits.init("crm.visits", id="patient")
    with pytest.raises(EvergreenError, match="--group is for a table without dates"):
        visits.execute("alter table crm.visits add day date default '2024-01-01'")
        visits.init("crm.visits", group="patient", time="day")


def test_what_protected_does_is_told(customers):
    said = customers.init("crm.customers", protected=("plan",))
    assert "protected plan: taken from the models (features.exclude), and the audit and the gate judge" in said
    assert customers.params.features.exclude == ["plan"]
    customers.execute("update crm.customers set visits = id")
    said = customers.init("crm.customers", id="id", protected=("visits",), force=True)
    assert '"visits" is read as the groups of visits_band alone' in said


@pytest.mark.parametrize(
    "options",
    [
        {"time": "day", "id": "id", "horizon": 30, "available_after": ("at",)},
        {"time": "at", "id": "id", "available_after": ("day",)},
        {"time": "day", "id": "who", "horizon": 60, "available_after": ("at", "id")},
        {"time": "day", "horizon": 30, "available_after": ("at", "id", "who")},
    ],
)
def test_what_it_writes_of_a_table_with_time_is_proven_time_safe(events, options):
    events.init("crm.events", **options)
    settings = Settings.load_from(events.folder, {"SOURCE_URL": events.url, "EVERGREEN_URL": events.url})
    said: list[str] = []
    proven = check_sql.run(settings, events.params, events.queries.folder, check_sql.Request(), said.append)
    assert proven and sum(line.startswith("ok") for line in said) > 3, "\n".join(said)


def test_the_tables_of_a_query_are_left_to_a_person(events):
    file = events.folder / "events.sql"
    file.write_text("select * from crm.events")
    events.init(file, time="day", id="id", available_after=("at",))
    settings = Settings.load_from(events.folder, {"SOURCE_URL": events.url, "EVERGREEN_URL": events.url})
    with pytest.raises(EvergreenError, match=r"says nothing of crm\.events.*day, at, joined"):
        check_sql.run(settings, events.params, events.queries.folder, check_sql.Request(), print)


def test_the_files_are_those_that_are_told(customers):
    said = customers.init("crm.customers")
    written = {
        "params.yaml",
        *(f"sql/mine/{name}" for name in ("training_set.sql", "fingerprint.sql", "left_out.sql", "expectations.yaml")),
    }
    assert customers.files == written
    assert all(name in said for name in written)
    assert (customers.params.model, customers.params.data.dataset, customers.params.data.entity) == ("mine", "mine", "id")
    assert customers.params.train == params.read(ROOT / "params.yaml").train
    assert customers.params.promotion.metric == "cost"  # and not the demo's
    written = (customers.folder / "params.yaml").read_text().splitlines()
    assert written[0].startswith("# yaml-language-server: $schema=")  # where editors look for it
    assert written[1].endswith("Written by `evergreen init`, yours to change.")
    assert "the demo's" not in (customers.folder / "params.yaml").read_text()
    assert "small:" in (customers.folder / "params.yaml").read_text()  # reasons of what is the same stay


def test_without_an_id_rows_that_are_alike_are_one(project):
    project.execute(
        "create schema crm",
        "create table crm.customers as select n % 130 as visits, (((n % 130) % 2 = 0) <> (n > 1040))::int as churn"
        " from generate_series(1, 1170) as n",
    )
    said = project.init("crm.customers")
    rows = project.extract(project.pin())
    assert rows.column_names == ["row_id", "churn", "visits"] and rows.num_rows == 130
    assert "1,040 rows are like another" in said
    again = project.extract(project.pin())
    assert again["row_id"].to_pylist() == rows["row_id"].to_pylist()
    counted = project.rows(project.queries.training_set, as_of=None, history_days=1, horizon_days=0, embargo_days=0)
    project.execute("update crm.customers set churn = 1 - churn")
    assert {row["row_id"] for row in project.score(None)} == {row["row_id"] for row in counted}  # the label is no part of it


def test_rows_without_a_label_are_scored_and_not_learnt_from(customers):
    said = customers.init("crm.customers")
    assert customers.extract(customers.pin()).num_rows == 540
    assert len(customers.score(None)) == 600
    assert "60 rows without a label are scored" in said


def test_a_label_that_comes_later_leaves_the_pin_of_others_alone(customers):
    customers.init("crm.customers")
    data = customers.pin()
    customers.execute("insert into crm.customers values (601, 1, 'a', null)")
    customers.extract(data)
    customers.execute("update crm.customers set churn = 'no' where id = 601")
    with pytest.raises(EvergreenError, match="not those that were pinned"):
        customers.extract(data)


def test_rows_that_come_once_are_read_by_whole_months_and_scored_by_the_day(events):
    events.init("crm.events", time="day", id="id", horizon=30, available_after=("at",), exclude=("who",))
    data = events.pin()
    rows = events.extract(data)
    assert (data.time, data.horizon_days, str(data.as_of)) == ("snapshot_date", 30, "2024-10-26")
    assert {str(day) for day in rows["snapshot_date"].to_pylist()} == {
        "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31", "2024-06-30", "2024-07-31", "2024-08-31",
    }  # fmt: skip
    scored = events.score("2024-05-05")
    assert len(scored) == 4 and {row["snapshot_date"] for row in scored} == {dt.date(2024, 5, 5)}
    first = rows.filter(pq_equal(rows, "id", 0)).to_pylist()[0]
    assert first["joined"] == (dt.date(2024, 1, 1) - dt.date(2023, 1, 1)).days


def test_the_gate_on_leaks_is_told_what_is_known_later_and_which_columns_count_days(events):
    events.init("crm.events", time="day", id="id", horizon=30, available_after=("at",))
    leakage = events.params.leakage
    assert (leakage.available_after, leakage.ages) == (["at"], ["joined"])


def test_expectations_are_learnt_without_the_newest_snapshots_and_the_rows_meet_them(events):
    events.execute("update crm.events set visits = 1000 where day >= '2024-08-01'")
    events.init("crm.events", time="day", id="id", horizon=30)
    text = (events.folder / "sql/mine/expectations.yaml").read_text()
    newest = events.params.evaluate.newest_snapshots
    days = sorted({*events.extract(events.pin())["snapshot_date"].to_pylist()})
    assert f"to {days[-1 - newest]}, without the newest snapshots" in text
    suite = read_expectations(events.folder / "sql/mine/expectations.yaml")
    config = events.params.model_copy(update={"validate_": events.params.validate_.model_copy(update={"min_rows": 100})})
    red = [check for check in validate.judge_rows(events.folder / "rows.parquet", suite, config).checks if not check.success]
    assert {(check.column, check.kind) for check in red if check.severity == "critical"} == {
        ("visits", "range"), ("visits", "unit"), ("visits", "constant"),
    }  # fmt: skip


def test_outcomes_have_the_keys_and_labels_of_training(events):
    events.init("crm.events", time="day", id="id", horizon=30)
    binds = {"score_days": ["2024-05-05", "2024-10-20"], "as_of": "2024-10-26", "horizon_days": 30, "embargo_days": 0}
    outcomes = events.rows(events.queries.outcomes, **binds)
    trained = {row["id"]: row["churn"] for row in events.extract(events.pin()).to_pylist()}
    assert [row["churn"] for row in outcomes] == [trained[row["id"]] for row in outcomes]
    assert {row["id"] for row in outcomes} == {row["id"] for row in events.score("2024-05-05")}
    assert {(row["snapshot_date"], row["available_at"]) for row in outcomes} == {(dt.date(2024, 5, 5), dt.date(2024, 6, 4))}


def test_outcomes_have_the_keys_of_the_content_where_there_is_no_id(events):
    events.init("crm.events", time="day", horizon=30, available_after=("at", "id", "who"))
    binds = {"score_days": ["2024-05-05"], "as_of": "2024-10-26", "horizon_days": 30, "embargo_days": 0}
    outcomes = events.rows(events.queries.outcomes, **binds)
    assert {row["row_id"] for row in outcomes} == {row["row_id"] for row in events.score("2024-05-05")} != set()


def test_the_watermark_of_moments_is_the_day_before_the_newest(events):
    events.init("crm.events", time="at", id="id", available_after=("day",))
    assert str(events.pin().as_of) == "2024-10-26"
    assert len(events.score("2024-10-25")) == 4
    with pytest.raises(EvergreenError, match="complete up to 2024-10-26 only"):
        events.pin("2024-10-27")


def test_what_comes_after_the_pin_does_not_change_it(events):
    events.init("crm.events", time="day", id="id", horizon=30)
    data = events.pin("2024-09-30")
    events.execute("update crm.events set churn = not churn where day > '2024-08-31'")
    assert extract.pin(events.url, events.queries, events.params.data, "2024-09-30").fingerprint == data.fingerprint


def test_an_entity_of_many_days_keeps_its_days(events):
    events.execute("update crm.events set day = date '2024-01-31' + 30 * (id / 50)")
    events.init("crm.events", time="day", id="who", horizon=60, available_after=("at", "id"))
    rows = events.extract(events.pin())
    assert rows.num_rows == len({(row["who"], row["snapshot_date"]) for row in rows.to_pylist()}) > 900
    assert events.params.split.folds == 8  # of few rows
    assert events.params.monitor.snapshot_policy == "every"


@pytest.mark.parametrize(
    ("kind", "values", "positive"),
    [
        ("boolean", ("false", "true"), None),
        ("smallint", ("1", "2"), "2"),
        ("numeric", ("0.0", "1.00"), None),
        ("real", ("0", "1"), None),
        ("text", (" NO", "yes"), None),
        ("char(4)", ("good", "bad"), "bad"),
    ],
)
def test_targets_of_every_kind(customers, kind, values, positive):
    customers.execute(
        f"alter table crm.customers drop churn, add churn {kind}",
        f"update crm.customers set churn = '{values[0]}'",
        f"update crm.customers set churn = '{values[1]}' where id % 3 = 0",
    )
    customers.init("crm.customers", positive=positive)
    labels = customers.extract(customers.pin())["churn"].to_pylist()
    assert (labels.count(1), labels.count(0)) == (200, 400)


def test_a_column_that_knows_the_answer_is_left_out(customers):
    customers.execute("alter table crm.customers add refund text", "update crm.customers set refund = 'x' where churn = 'yes'")
    said = customers.init("crm.customers")
    assert 'left out "refund": looks like a leak' in said
    assert "refund" not in customers.extract(customers.pin()).column_names


def test_a_query_takes_the_place_of_a_table(customers, tmp_path):
    query = """-- it's a query: of all
        select id, visits, 'a;\nb' as note, churn = 'yes' as churn -- end
        from crm.customers;"""
    (tmp_path / "q.sql").write_text(query)
    customers.init(tmp_path / "q.sql", exclude=("note",))
    rows = customers.extract(customers.pin())
    assert rows.num_rows == 540 and {*rows["note"].to_pylist()} == {"a;\nb"}


@pytest.mark.parametrize(
    ("statement", "options", "said"),
    [
        ("select 1", {"target": "plan"}, "more than two values. Supported is"),
        ("select 1", {"target": "gone"}, "the table has no such column"),
        ("select 1", {"id": "plan"}, '"plan" name no single row: there are [0-9]+ rows of 3 keys'),
        ("select 1", {"time": "visits"}, "a date or a timestamp is needed"),
        ("select 1", {"time": "plan"}, "is text, and .* not written as 2024-12-31"),
        ("select 1", {"horizon": 30}, "name its column by --time"),
        ("select 1", {"protected": ("plan",), "personal": ("plan",)}, "cannot be both --protected and --personal"),
        ("delete from crm.customers", {}, "holds no rows"),
        (
            "insert into crm.customers select id, 8, plan, null from crm.customers where id < 5",
            {"id": "id"},
            "no single row to score",
        ),
        ("delete from crm.customers where churn = 'yes'", {}, "has 1 value"),
        ("alter table crm.customers drop visits, drop plan", {}, "No column is left to learn from"),
    ],
)
def test_what_cannot_be_learnt_from_gets_a_sentence_and_no_file(customers, statement, options, said):
    customers.execute(statement)
    with pytest.raises(EvergreenError, match=said):
        customers.init("crm.customers", **options)
    assert customers.files == {"params.yaml"}
    assert git(customers.folder, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select *, 1 as id from crm.customers", "two columns named id"),
        ("select * from crm.customers where churn = :as_of", "asks for :as_of"),
        ("-- nothing", "holds no query"),
        ("select nothing from crm.customers", "nothing"),
    ],
)
def test_a_query_that_cannot_be_used_gets_a_sentence(customers, tmp_path, query, said):
    (tmp_path / "q.sql").write_text(query)
    with pytest.raises(EvergreenError, match=said):
        customers.init(tmp_path / "q.sql")
    with pytest.raises(EvergreenError, match=r"shows no such table"):
        customers.init("crm.Customers")


def test_a_persons_files_are_not_overwritten_without_force(customers):
    customers.init("crm.customers")
    before = (customers.folder / "params.yaml").read_text()
    with pytest.raises(EvergreenError, match=r"sql/mine/training_set\.sql, .*params\.yaml would be overwritten"):
        customers.init("crm.customers")
    with pytest.raises(EvergreenError, match=r"^params\.yaml would be overwritten"):
        customers.init("crm.customers", name="other")
    (customers.folder / "sql/mine/notes.md").write_text("mine")
    customers.init("crm.customers", protected=("plan",), force=True)
    assert (customers.folder / "params.yaml").read_text() != before
    assert customers.params.data.protected == ["plan"] and "sql/mine/notes.md" in customers.files


@pytest.mark.parametrize(
    ("change", "refused"),
    [("  seed: 20240101\n", True), ("  as_of: null ", False), ("  fingerprint: null ", False)],
)
def test_the_demos_params_are_nobodys_until_they_are_changed(customers, change, refused):
    file = customers.folder / "params.yaml"
    file.write_text(file.read_text().replace(change, change.replace("0101", "0102").replace("null", '"2024-12-31"')))
    if refused:
        with pytest.raises(EvergreenError, match=r"^params\.yaml would be overwritten"):
            customers.init("crm.customers")
    else:
        customers.init("crm.customers")
        assert customers.params.data.as_of is None


def test_names_of_the_projects_own_folders_are_refused(customers):
    for name, said in {"schema": "part of the project", "My Model": "cannot name a model", "x\n": "cannot name"}.items():
        with pytest.raises(EvergreenError, match=said):
            customers.init("crm.customers", name=name)


@pytest.mark.parametrize("step", ["rename", "open"])
def test_files_are_written_together_or_not_at_all(tmp_path, monkeypatch, step):
    """A disk that fails at the last file."""
    (tmp_path / "a.txt").write_text("old")
    works = getattr(Path, step)

    def fails(path: Path, *arguments, **options):
        if "c.txt" in path.name and "r" not in arguments:
            raise OSError("the disk is full")
        return works(path, *arguments, **options)

    monkeypatch.setattr(Path, step, fails)
    with pytest.raises(OSError, match="full"):
        write.together({tmp_path / "a.txt": "new", tmp_path / "b" / "b.txt": "new", tmp_path / "b" / "c.txt": "new"})
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.rglob("*")] == ["a.txt"]


@pytest.mark.parametrize("place", ["table", "query"])
def test_a_large_source_is_counted_by_a_sample(project, tmp_path, place):
    project.execute(
        "create schema crm",
        "create table crm.big as select n, n % 40 as visits, n % 2 as churn from generate_series(1, 200000) as n",
    )
    (tmp_path / "q.sql").write_text("select * from crm.big")
    with source.reading(project.url) as reader:
        relation = source.of_table(reader, "crm.big") if place == "table" else source.of_file(tmp_path / "q.sql")
        listed = [profile.Column(*column) for column in reader.columns(relation.statement)]
        found = profile.profile(reader, relation, listed, None, most=20_000)
    assert found.rows == 200_000 and 10_000 < found.looked_at < 30_000 and found.sampled
    assert found.column("visits").distinct == 40


def test_the_source_cannot_be_changed(customers):
    with pytest.raises(EvergreenError, match="read-only transaction"), source.reading(customers.url) as reader:
        reader.rows("delete from crm.customers returning id")


def pq_equal(rows, name, value):
    import pyarrow.compute as pc

    return pc.equal(rows[name], value)
