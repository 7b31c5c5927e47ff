"""Nothing is learnt from the future or from held-out customers."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from pipelines import params, split
from pipelines.errors import EvergreenError

CONFIG = params.read()
SIDES = params.SplitParams(salt="s", test_share=0.3, newest_snapshots=1)
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


def test_a_customer_is_on_one_side_whatever_else_is_there():
    whole = split.is_test(pa.array(np.arange(1000)), "s", 0.3)
    alone = [bool(split.is_test(pa.array([customer]), "s", 0.3)[0]) for customer in range(1000)]
    assert whole.tolist() == alone


def test_an_id_as_number_and_as_text_is_one_customer():
    assert (split.is_test(pa.array([1, 2, 3]), "s", 0.5) == split.is_test(pa.array(["1", "2", "3"]), "s", 0.5)).all()


def test_the_share_is_met_and_the_salt_moves_it():
    customers = pa.array(np.arange(20_000))
    one, other = split.is_test(customers, "a", 0.3), split.is_test(customers, "b", 0.3)
    assert one.mean() == pytest.approx(0.3, abs=0.015)
    assert (one & other).mean() == pytest.approx(0.09, abs=0.01)


def test_training_sees_neither_held_out_customers_nor_the_newest_snapshot():
    train, test = split.split(history(), CONFIG.data, SIDES)
    assert not set(train["customer_id"].to_pylist()) & set(test["customer_id"].to_pylist())
    assert DATES[2] not in train["snapshot_date"].to_pylist()
    assert test.filter(test["held_out_in_time"])["snapshot_date"].unique().to_pylist() == [DATES[2]]


def test_a_table_without_a_clock_is_split_by_customer_alone():
    data = CONFIG.data.model_copy(update={"time": None})
    train, test = split.split(history(), data, SIDES)
    assert train.num_rows + test.num_rows == 600
    assert not any(test["held_out_in_time"].to_pylist())


def test_too_few_snapshots_are_refused():
    with pytest.raises(EvergreenError, match="newest_snapshots is 3, and the rows hold 3 snapshots"):
        split.split(history(), CONFIG.data, SIDES.model_copy(update={"newest_snapshots": 3}))


def test_labels_of_one_class_are_refused():
    rows = history().set_column(2, "churned", pa.array([0] * 600, pa.int32()))
    with pytest.raises(EvergreenError, match="labels of one class only"):
        split.split(rows, CONFIG.data, SIDES)
