"""A file becomes a table with the types of its values, or nothing changes."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra import load_file
from pipelines import postgres
from pipelines.errors import EvergreenError


def rows(url, query):
    with postgres.connect(url) as connection:
        return connection.execute(query).fetchall()


def types(url, table):
    found = rows(url, f"select column_name, data_type from information_schema.columns where table_name = '{table}'")
    return dict(found)


def test_a_csv_gets_types_from_all_its_values(company_url, tmp_path):
    (tmp_path / "people.csv").write_text('id,Share,joined,name,code\n1,0.5,2024-01-31,"a ""b"", c",7\n2,,2024-02-29,é,x\n')
    assert load_file.load(company_url, tmp_path / "people.csv", "crm.people") == 2
    assert types(company_url, "people") == {
        "id": "bigint", "Share": "double precision", "joined": "date", "name": "text", "code": "text"
    }  # fmt: skip
    assert rows(company_url, "select * from crm.people order by id") == [
        (1, 0.5, datetime.date(2024, 1, 31), 'a "b", c', "7"),
        (2, None, datetime.date(2024, 2, 29), "é", "x"),
    ]


def test_a_parquet_file_keeps_null_integers(company_url, tmp_path):
    pq.write_table(pa.table({"n": pa.array([1, None], pa.int32()), "order": [True, None]}), tmp_path / "t.parquet")
    load_file.load(company_url, tmp_path / "t.parquet", "crm.t")
    assert rows(company_url, 'select n, "order" from crm.t') == [(1, True), (None, None)]


def test_a_file_that_cannot_be_read_leaves_the_table(company_url, tmp_path):
    (tmp_path / "good.csv").write_text("a\n1\n")
    (tmp_path / "bad.csv").write_text("a,b\n1\n")
    load_file.load(company_url, tmp_path / "good.csv", "crm.t")
    with pytest.raises(EvergreenError, match=r"bad\.csv is neither CSV nor Parquet that can be read"):
        load_file.load(company_url, tmp_path / "bad.csv", "crm.t")
    assert rows(company_url, "select a from crm.t") == [(1,)]


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("none.csv", "crm.t", "none.csv is missing"),
        ("empty.csv", "crm.t", "holds no rows"),
        ("x.csv", "t", "give schema and table"),
    ],
)
def test_what_is_wrong_is_said(company_url, tmp_path, name, table, said):
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(EvergreenError, match=said):
        load_file.load(company_url, tmp_path / name, table)
