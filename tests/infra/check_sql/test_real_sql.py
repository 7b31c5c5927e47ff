"""The SQL that the project comes with: proven time-safe, but not with a mistake of docs/explanation/point-in-time.md."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path

import pytest

from cli.check_sql import command
from cli.load import load_file
from examples.telecom.load import load_demo
from pipelines.config import params
from pipelines.config.settings import Settings
from studies.tables import TABLES

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
DOC = (ROOT / "docs/explanation/point-in-time.md").read_text(encoding="utf-8")
REAL = {table.dataset: table for table in TABLES}
CHURN = {
    "a table without its filter": (
        "invoices.customer_id = population.customer_id and invoices.recorded_at <= population.snapshot_date",
        "invoices.customer_id = population.customer_id",
        r"as of 2024-12-31.*\n +total_charges: .*by rows of telecom\.invoices that",
    ),
    "a feature past its snapshot": (
        "and tickets.recorded_at <= population.snapshot_date",
        "and tickets.recorded_at <= cast(:as_of as date)",
        r"features of snapshot 2024-10-31.*\n +support_tickets: .*by rows of telecom\.support_tickets that",
    ),
    "a label without its horizon": (
        "coalesce(terminations.terminated_on <= snapshots.snapshot_date + cast(:horizon_days as int), false)::int",
        "(terminations.terminated_on is not null)::int",
        r"labels of snapshot 2024-10-31.*\n +churned: .*by rows of telecom\.terminations that",
    ),
}
MISTAKE = re.compile(
    r"^### Mistake.*?```sql\n(?P<right>.*?)```.*?```sql\n(?P<wrong>.*?)```.*?```\n(?P<said>.*?)```", re.M | re.S
)


def check(url, ours, dataset, folder, **request):
    """Whether it is proven, and what is said."""
    shutil.copytree(ROOT / "sql" / dataset, folder, dirs_exist_ok=True)
    file = ROOT / ("params.yaml" if dataset == "churn" else f"sql/{dataset}/params.yaml")
    settings = Settings.load_from(folder, {"SOURCE_URL": url, "EVERGREEN_URL": ours})
    said: list[str] = []

    def again(*changes):
        said.clear()
        text = (ROOT / "sql" / dataset / "training_set.sql").read_text()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "training_set.sql").write_text(text)
        return command.run(settings, params.read(file), folder, command.Request(**request), said.append), "\n".join(said)

    return again


def load_real(url, dataset):
    table = REAL[dataset]
    if not (DATA / table.file).exists():
        pytest.skip(f"{DATA / table.file} is not there: the shared data folder lies beside the project only on some machines")
    load_file.load(url, DATA / table.file, table.table, lambda _line: None)


def test_the_demo_is_proven_with_its_corrections(company_url, ledger_url, tmp_path):
    load_demo(company_url, customers=400, months=20, say=lambda _line: None)
    proven, said = check(company_url, ledger_url, "churn", tmp_path)()
    assert proven, said
    assert "no index is missing" in said


@pytest.mark.long
def test_a_mistake_in_the_demos_sql_is_found(company_url, ledger_url, tmp_path):
    load_demo(company_url, customers=1_500, months=14, say=lambda _line: None)
    again = check(company_url, ledger_url, "churn", tmp_path, days=(dt.date(2024, 12, 31),))
    assert again()[0]
    for old, new, expected in CHURN.values():
        proven, said = again((old, new))
        assert not proven
        assert re.search(expected, said), said


@pytest.mark.long
def test_the_mistakes_of_the_worked_example_are_found_as_it_says(company_url, ledger_url, tmp_path):
    load_real(company_url, "online_retail")
    again = check(company_url, ledger_url, "online_retail", tmp_path)
    proven, said = again()
    assert proven and said.count("\nok") == 11, said
    for line in re.search(r"```\n(Copying what.*?)```", DOC, re.S)[1].splitlines():
        assert line in said
    mistakes = list(MISTAKE.finditer(DOC))
    assert len(mistakes) == 3
    for mistake in mistakes:
        proven, said = again((mistake["right"], mistake["wrong"]))
        assert not proven
        for line in mistake["said"].splitlines():
            assert line in said


@pytest.mark.long
def test_the_bookings_are_proven_and_what_is_settled_later_is_seen(company_url, ledger_url, tmp_path):
    load_real(company_url, "hotel_bookings")
    again = check(company_url, ledger_url, "hotel_bookings", tmp_path, days=(dt.date(2017, 8, 31),))
    proven, said = again()
    assert proven, said
    requests = (
        "            is_canceled\n        from arrivals",
        "            is_canceled,\n            total_of_special_requests\n        from arrivals",
    )
    taken = ("max(is_repeated_guest) as is_repeated_guest", "(max(total_of_special_requests) > 0)::int as is_repeated_guest")
    proven, said = again(requests, taken)
    assert not proven
    assert re.search(
        r"features of snapshot.*\n +is_repeated_guest: .*by rows of hotel\.bookings that were not known yet", said
    ), said
