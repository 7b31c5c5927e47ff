"""The loop on databases of the user's own, read by a role that can do nothing but SELECT; at the demo's full size.

20,000 customers, so that the figures which the project claims of its demo are checked on the same run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pyarrow.parquet as pq
import pytest

from examples.telecom.load import load_demo, oracle_auc
from infra.stack import postgres_server
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.conftest import AS_OF, free_ports
from tests.support.clones import Clone, FlowRun, read_json

pytestmark = pytest.mark.long
READER = "looker:only-to-look"


@dataclass(frozen=True)
class Own:
    admin: str  # URL of the company's database, as its superuser
    clone: Clone
    run: FlowRun

    @property
    def evaluation(self) -> dict:
        return read_json(self.clone.folder / "evaluation" / "evaluation.json")


@pytest.fixture(scope="module")
def own(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """A retraining in a clone whose .env names two databases of another server; its results checked out."""
    folder = tmp_path_factory.mktemp("own")
    with postgres_server.running(folder / "postgres", free_ports(1)[0], "only-for-tests") as server:
        admin = prepare(server)
        load_demo(admin, customers=20_000, say=print)
        grant(admin)
        lines = (stack.folder / ".env").read_text()
        lines += f"SOURCE_URL='{admin.replace('postgres:only-for-tests', READER)}'\n"
        lines += f"EVERGREEN_URL='{postgres_server.on_database(server, 'ours')}'\n"
        clone = Clone.make(folder / "clone", lines, {"model": "own"})
        ledger.migrate(clone.settings.evergreen_url)
        clone.deploy()
        run = clone.retrain(as_of=AS_OF)
        clone.evergreen("model", "checkout", "v1")
        yield Own(admin, clone, run)
    shutil.rmtree(folder / "postgres")


def prepare(server: str) -> str:
    with postgres_server.connect(server) as connection:
        connection.autocommit = True
        connection.execute("create database company")
        connection.execute("create database ours")
        connection.execute("create role looker login password 'only-to-look'")
        for database in ("company", "ours"):
            connection.execute(f"revoke all on database {database} from public")
        connection.execute("grant connect on database company to looker")
    return postgres_server.on_database(server, "company")


def grant(admin: str) -> None:
    with postgres_server.connect(admin) as connection:
        connection.execute("grant usage on schema telecom to looker")
        connection.execute("grant select on all tables in schema telecom to looker")


def test_the_role_can_do_nothing_but_select(own: Own) -> None:
    url = own.clone.settings.source_url.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as reader:
        assert reader.execute("select count(*) from telecom.customers").fetchone() == (20_000,)
        for statement in (
            "create temporary table mine (id int)",
            "create table public.mine (id int)",
            "create schema mine",
            "update telecom.customers set region = 'north'",
            "select * from demo_oracle.churn_probability",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)


def test_it_suffices_from_pin_to_champion(own: Own) -> None:
    champion = ledger.champion(own.clone.settings.evergreen_url, "own")
    assert champion is not None
    assert (champion.version, champion.revision, champion.git_ref) == (1, 1, own.run.ref)
    assert "extract" in own.run.executed()


def test_the_stacks_own_ledger_knows_nothing_of_it(own: Own, stack: Settings) -> None:
    assert own.clone.model not in ledger.models(stack.evergreen_url)


def test_its_passwords_are_in_no_log_or_artifact(own: Own) -> None:
    home = own.clone.settings.home
    files = [file for folder in ("logs", "site", "mlflow", "models") for file in (home / folder).rglob("*") if file.is_file()]
    texts = [own.run.log().encode(), str(own.run.artifacts()).encode(), *(file.read_bytes() for file in files)]
    assert [text[:200] for text in texts for word in (b"only-to-look", b"only-for-tests") if word in text] == []


# the demo's figures


def test_the_challenger_is_within_0_02_of_the_oracle(own: Own) -> None:
    rows = pq.read_table(own.clone.folder / "data" / "training.parquet").rename_columns({"churned": "label"})
    best = oracle_auc(own.admin, rows=rows)
    reached = own.evaluation["candidates"][own.evaluation["challenger"]]["metrics"]["roc_auc"]["point"]
    assert own.evaluation["rows"] == rows.num_rows
    assert best - reached <= 0.02, f"the oracle's AUC is {best:.4f}, the challenger's {reached:.4f}"


def test_the_challenger_beats_linear_beyond_the_paired_interval(own: Own) -> None:
    assert own.evaluation["baseline"] == "linear"
    assert own.evaluation["challenger"] != "linear"
    assert own.evaluation["candidates"][own.evaluation["challenger"]]["against_baseline"]["low"] > 0
