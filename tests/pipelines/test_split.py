"""Every entity is in one fold, the same at every retraining; and which snapshots are the newest, in Python as in SQL."""

import datetime
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.stack import postgres_server
from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from pipelines.data import extract, split
from pipelines.stages import split as split_stage

CONFIG = params.read()
FOLDS = params.SplitParams(salt="s", folds=5)
DATES = [datetime.date(2024, month, 28) for month in (1, 2, 3)]


def history(customers=200):
    """Each customer at three snapshots; every fourth row positive."""
    return pa.table(
        {
            "customer_id": np.repeat(np.arange(customers), 3),
            "snapshot_date": pa.array(DATES * customers),
            "churned": pa.array((np.arange(customers * 3) % 4 == 0).astype("int32")),
        }
    )


def position(salt, entity):
    """The rule by hand: a place on a circle of 2**64 points."""
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{entity}".encode(), digest_size=8).digest(), "big")


# folds


def test_a_customer_is_in_one_fold_whatever_else_is_there():
    whole = split.fold_of(pa.array(np.arange(1000)), "s", 5)
    alone = [int(split.fold_of(pa.array([customer]), "s", 5)[0]) for customer in range(1000)]
    assert whole.tolist() == alone


def test_all_rows_of_a_customer_are_in_one_fold():
    fold = split.split(history(), CONFIG.data, FOLDS)[split.FOLD].to_numpy().reshape(200, 3)
    assert (fold == fold[:, :1]).all()
    assert set(fold[:, 0]) == set(range(5))


def test_an_id_as_number_and_as_text_is_one_customer():
    numbers, texts = pa.array(np.arange(500)), pa.array([str(number) for number in range(500)])
    assert (split.fold_of(numbers, "s", 5) == split.fold_of(texts, "s", 5)).all()


def test_the_folds_are_about_equal_and_the_salt_moves_them():
    customers = pa.array(np.arange(20_000))
    one, other = split.fold_of(customers, "a", 5), split.fold_of(customers, "b", 5)
    assert np.bincount(one, minlength=5) / 20_000 == pytest.approx(np.full(5, 0.2), abs=0.01)
    assert (one == other).mean() == pytest.approx(0.2, abs=0.01)


def test_the_rule_stays_as_it_is_since_published_versions_know_their_folds_by_it_alone():
    customers = [*range(300), "Zoë", "a\0b", ""]
    by_hand = [(position("salt", customer) >> 32) * 7 >> 32 for customer in customers]
    found = split.fold_of(pa.array([str(customer) for customer in customers]), "salt", 7)
    assert found.tolist() == by_hand
    assert split.fold_of(pa.array(range(12)), "evergreen-1", 5).tolist() == [2, 4, 3, 3, 1, 4, 0, 2, 0, 4, 0, 0]


def test_a_version_judges_each_customer_by_the_model_of_its_fold():
    customers = pa.array(np.arange(1000))
    assert (split.unseen_fold(customers, {"salt": "s", "folds": 4}) == split.fold_of(customers, "s", 4)).all()


def test_a_version_from_before_cross_fitting_judges_those_that_it_held_out_and_has_seen_all_others():
    customers = np.arange(3000)
    found = split.unseen_fold(pa.array(customers), {"salt": "evergreen-1", "test_share": 0.3, "newest_snapshots": 1})
    held_out = [position("evergreen-1", customer) < int(0.3 * 2**64) for customer in customers]
    assert found.tolist() == [0 if held else split.ALL_SEEN for held in held_out]
    assert np.mean(held_out) == pytest.approx(0.3, abs=0.03)


def test_labels_of_one_class_in_a_fold_are_refused_with_what_it_has():
    rows = history()
    second = split.fold_of(rows["customer_id"], "s", 5) == 1
    labels = np.where(second, 0, rows["churned"].to_numpy()).astype("int32")
    with pytest.raises(EvergreenError, match=rf"Fold 2 of 5 has 0 positives among {second.sum()} rows: .*lower split\.folds"):
        split.split(rows.set_column(2, "churned", pa.array(labels)), CONFIG.data, FOLDS)


def test_rows_are_kept_as_they_are_and_in_their_order():
    rows = history()
    divided = split.split(rows, CONFIG.data, FOLDS)
    assert divided.drop_columns([split.FOLD]).equals(rows)


# the newest snapshots


def newest(rows, data=CONFIG.data, **changes):
    evaluate = CONFIG.evaluate.model_copy(update={"newest_snapshots": 1, "newest_positives": 1} | changes)
    return split.newest(rows, data, evaluate)


@pytest.mark.parametrize(
    ("changes", "snapshots"),
    [
        ({}, 1),
        ({"newest_snapshots": 2}, 2),
        ({"newest_snapshots": 99}, 3),
        ({"newest_positives": 50}, 1),  # a snapshot has 50 positives and 150 others
        ({"newest_positives": 51}, 2),
        ({"newest_positives": 101}, 3),
        ({"newest_positives": 10_000}, 3),
        ({"newest_positives": 51, "newest_snapshots": 2}, 2),
    ],
)
def test_the_newest_are_as_many_snapshots_as_give_evidence(changes, snapshots):
    rows = history().take(np.random.default_rng(1).permutation(600))
    found = newest(rows, **changes)
    assert set(rows.filter(pa.array(found))["snapshot_date"].to_pylist()) == set(DATES[3 - snapshots :])
    assert found.sum() == 200 * snapshots


def test_rows_of_the_rarer_label_are_what_is_counted():
    turned = history().set_column(2, "churned", pa.array(1 - history()["churned"].to_numpy()))
    assert newest(turned, newest_positives=51).sum() == 400


def test_without_a_clock_all_rows_are_the_newest():
    assert newest(history(), CONFIG.data.model_copy(update={"time": None})).all()


ORDERS = """
create schema shop;
create table shop.orders as
select
    i % 137 as customer_id, date '2024-01-31' + 7 * (i % 12) as snapshot_date, (hashint4(i) % 11 = 0)::int as churned
from generate_series(1, 3000) as i
where hashint4(i * 7) % 3 <> 0
"""


@pytest.fixture
def shop(company_url, tmp_path):
    """URL of a table of twelve snapshots, and its queries."""
    with postgres_server.connect(company_url) as connection:
        connection.execute(ORDERS)
    query = "select * from shop.orders where snapshot_date <= :as_of"
    for name, text in {
        "training_set": query,
        "fingerprint": f"select count(*)::text from ({query}) as rows",
        "watermark": "select max(snapshot_date) from shop.orders",
    }.items():
        (tmp_path / f"{name}.sql").write_text(text)
    return company_url, extract.Queries(tmp_path)


@pytest.mark.parametrize("changes", [(1, 1), (1, 20), (1, 60), (3, 1), (4, 150), (12, 1), (1, 10_000)])
@pytest.mark.parametrize("as_of", ["2024-04-17", "2024-03-01"])
def test_a_pin_counts_the_very_rows_that_will_be_the_newest(shop, tmp_path, changes, as_of):
    url, queries = shop
    evaluate = CONFIG.evaluate.model_copy(update=dict(zip(("newest_snapshots", "newest_positives"), changes, strict=True)))
    pinned = extract.pin(url, queries, CONFIG.data, as_of, evaluate=evaluate)
    data = CONFIG.data.model_copy(update={"as_of": datetime.date.fromisoformat(as_of), "fingerprint": pinned.fingerprint})
    extract.extract(url, queries, data, tmp_path / "rows.parquet")
    rows = pq.read_table(tmp_path / "rows.parquet")
    late = rows.filter(pa.array(split.newest(rows, data, evaluate)))
    assert pinned.newest == (late.num_rows, len(late["customer_id"].unique()))
    assert (pinned.rows, pinned.positives) == (rows.num_rows, sum(rows["churned"].to_pylist()))


# the stage


@pytest.fixture
def folder(tmp_path, monkeypatch):
    text = Path("params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text.replace("exclude: [gender]", "exclude: []"))
    pq.write_table(history().append_column("tenure", pa.array(np.arange(600.0))), "rows.parquet")
    stage.write_json(Path("validation.json"), {"success": True})


def run():
    paths = {"rows": "rows.parquet", "verdict": "validation.json", "training": "training.parquet", "schema": "schema.json"}
    split_stage.main(**{name: Path(path) for name, path in paths.items()})


@pytest.mark.usefixtures("folder")
def test_the_stage_writes_all_rows_with_their_fold_and_what_a_model_sees():
    run()
    rows = pq.read_table("training.parquet")
    assert rows.num_rows == 600
    assert rows[split.FOLD].to_pylist() == split.fold_of(rows["customer_id"], CONFIG.split.salt, CONFIG.split.folds).tolist()
    assert json.loads(Path("schema.json").read_text())["numbers"] == ["tenure"]


@pytest.mark.usefixtures("folder")
def test_rows_that_did_not_pass_are_not_split():
    stage.write_json(Path("validation.json"), {"success": False})
    with pytest.raises(EvergreenError, match=r"validation\.json says no"):
        run()
    Path("validation.json").unlink()
    with pytest.raises(EvergreenError, match=r"validation\.json says no, or nothing"):
        run()


@pytest.mark.usefixtures("folder")
def test_a_query_may_not_return_a_fold():
    pq.write_table(pq.read_table("rows.parquet").append_column("fold", pa.array(np.arange(600))), "rows.parquet")
    with pytest.raises(EvergreenError, match="returns a column 'fold'"):
        run()
