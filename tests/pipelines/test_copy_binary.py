"""COPY BINARY: what Postgres reads is what Arrow held."""

from __future__ import annotations

import datetime as dt
import time
import uuid

import numpy as np
import pyarrow as pa
import pytest

from pipelines.data import copy_binary
from pipelines.data.postgres import connect

COLUMNS = {
    "flag boolean": pa.array([True, False, True]),
    "small smallint": pa.array([-(2**15), 0, 2**15 - 1], pa.int16()),
    "whole integer": pa.array([-(2**31), 0, 2**31 - 1], pa.int32()),
    "large bigint": pa.array([-(2**63), 0, 2**63 - 1], pa.int64()),
    "share double precision": pa.array([-0.1, 1e-308, 1e308]),
    "day date": pa.array([dt.date(1969, 12, 31), dt.date(2000, 1, 1), dt.date(2030, 2, 28)]),
    "said text": pa.array(["", "Ünï → ‮ '\\N\t\n", "x" * 10_000]),
    "also text": pa.array(["a", "b", "c"], pa.large_string()),
    "id uuid": copy_binary.uuids(3),
}


def copied(url, columns):
    """Rows of a table that the columns were copied into; names are `name type`."""
    with connect(url) as connection:
        connection.execute(f"create temporary table copied ({', '.join(columns)})")
        with connection.cursor().copy("copy copied from stdin (format binary)") as copy:
            for part in (copy_binary.HEADER, copy_binary.rows(list(columns.values())), copy_binary.TRAILER):
                copy.write(part)
        return connection.execute("select * from copied").fetchall()


def python(column):
    return [uuid.UUID(bytes=one) for one in column.to_pylist()] if column.type == pa.binary(16) else column.to_pylist()


def test_every_type_arrives_exactly(company_url):
    expected = list(zip(*map(python, COLUMNS.values()), strict=True))
    assert copied(company_url, COLUMNS) == expected


@pytest.mark.parametrize("name", COLUMNS)
def test_a_slice_is_only_its_rows(company_url, name):
    column = COLUMNS[name].slice(1, 1)
    assert copied(company_url, {name: column}) == [(value,) for value in python(column)]


def test_what_is_the_same_in_every_row_is_given_once(company_url):
    columns = {"model text": b"churn", "number integer": pa.array([1, 2], pa.int32()), "version integer": b"\0\0\0\7"}
    assert copied(company_url, columns) == [("churn", 1, 7), ("churn", 2, 7)]


@pytest.mark.parametrize(
    ("column", "said"), [(pa.array([1, None], pa.int32()), "1 nulls"), (pa.array([1], pa.uint8()), "no binary form")]
)
def test_what_it_cannot_write_is_refused(column, said):
    with pytest.raises(ValueError, match=said):
        copy_binary.rows([column])


def test_identifiers_begin_with_the_time_and_are_random_behind_it():
    before = time.time_ns() // 1_000_000
    made = [uuid.UUID(bytes=one) for one in copy_binary.uuids(1000).to_pylist()]
    assert len(set(made)) == 1000
    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    assert {before <= int.from_bytes(one.bytes[:6], "big") <= time.time_ns() // 1_000_000 for one in made} == {True}
    assert np.mean([one.bytes[7] for one in made]) == pytest.approx(127.5, abs=15)
