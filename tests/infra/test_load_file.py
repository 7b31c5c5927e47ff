"""A file becomes a table with the types of its values, or nothing changes."""

import csv
import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import delimited, load_file
from pipelines import postgres
from pipelines.errors import EvergreenError

ORDERED = "select column_name from information_schema.columns where table_name = 't' order by ordinal_position"


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
    with pytest.raises(EvergreenError, match=r"bad\.csv is neither .* Expected 2 columns, got 1\. Nothing was loaded\.$"):
        load_file.load(company_url, tmp_path / "bad.csv", "crm.t", replace=True)
    assert rows(company_url, "select a from crm.t") == [(1,)]


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("none.csv", "crm.t", "none.csv is missing"),
        ("header.csv", "crm.t", "holds no rows"),
        ("empty.csv", "crm.t", "is empty"),
        ("nested.parquet", "crm.t", "Column 'a' is list"),
        ("text.parquet", "crm.t", "no Parquet file"),
        ("x.csv", "t", "give schema and table"),
    ],
)
def test_what_is_wrong_is_said(company_url, tmp_path, name, table, said):
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "empty.csv").write_text("\n")
    (tmp_path / "text.parquet").write_text("a\n1\n")
    pq.write_table(pa.table({"a": [[1, 2]]}), tmp_path / "nested.parquet")
    with pytest.raises(EvergreenError, match=said):
        load_file.load(company_url, tmp_path / name, table)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", ""], "bigint"),
        (["1", "2.5", "1e5", "NA"], "double precision"),
        (["01", "02"], "text"),  # codes: a number would lose the zero
        (["12345678901234567890"], "text"),
        (["True", "false"], "boolean"),
        (["2024-02-29", "2024-03-01"], "date"),
        (["2024-02-30"], "text"),  # no such day
        (["2024-02-29", "2024-03-01 10:00:00.5"], "timestamp"),
        (["9999-12-31 00:00"], "timestamp"),
        (["2024-02-29T10:00:00Z"], "timestamptz"),
        (["1", " "], "text"),
        (["", ""], "text"),
    ],
)
def test_a_type_fits_every_value(tmp_path, values, kind):
    (tmp_path / "t.csv").write_text("".join(f"{value},x\n" for value in ["a", *values]))
    found = delimited.layout(tmp_path / "t.csv")
    assert delimited.types(tmp_path / "t.csv", found) == (len(values), [kind, "text"])


def test_a_type_is_that_of_all_blocks(company_url, tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    (tmp_path / "t.csv").write_text("n\n" + "1\n" * 5000 + "2.5\n")
    load_file.load(company_url, tmp_path / "t.csv", "crm.t")
    assert rows(company_url, "select sum(n), count(*) from crm.t") == [(5002.5, 5001)]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('größe;"a;b"\n1,5;x\n1.000,25;"y;\nz"\n', "utf-8"),
        ('größe\t"a;b"\r\n1.5\tx\r\n1000.25\t"y;\nz"\r\n', "utf-16"),
        ('größe|"a;b"\n1.5|x\n1000.25|"y;\nz"\n', "cp1252"),
        ('größe,"a;b"\n1.5,x\n1000.25,"y;\nz"\n', "utf-8-sig"),
    ],
)
def test_encodings_and_delimiters_are_found_out(company_url, tmp_path, text, encoding):
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    load_file.load(company_url, tmp_path / "t.csv", "crm.t")
    assert rows(company_url, 'select "größe", "a;b" from crm.t order by 1') == [(1.5, "x"), (1000.25, "y;\nz")]


def test_names_survive_as_they_are_or_are_told(company_url, tmp_path):
    long = "long " * 14
    header = ["Order", "order", "", "50% of :x", long + "one", long + "two", "ключ", "Order"]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, range(len(header))])
    told = []
    load_file.load(company_url, tmp_path / "t.csv", "crm.t", told.append)
    found = [name for (name,) in rows(company_url, ORDERED)]
    assert found[:4] == ["Order", "order", "column 3", "50% of :x"]
    assert found[4:6] == [(long + "one")[:63], (long + "two")[:61] + "_2"]
    assert found[6:] == ["ключ", "Order_2"]
    assert len(told) == 4


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_any_header_gives_names_that_postgres_keeps(header):
    names = load_file.column_names(header)
    assert len({*names}) == len(header)
    assert all(0 < len(name.encode()) <= 63 and "\0" not in name for name in names)


def test_categories_of_a_parquet_file_are_texts(company_url, tmp_path):
    pq.write_table(pa.table({"plan": pa.array(["a", None, "b"]).dictionary_encode()}), tmp_path / "t.parquet")
    load_file.load(company_url, tmp_path / "t.parquet", "crm.t")
    assert rows(company_url, "select plan from crm.t order by 1") == [("a",), ("b",), (None,)]


@pytest.mark.parametrize("kind", ["table", "view"])
def test_what_no_load_made_is_never_replaced(company_url, tmp_path, kind):
    (tmp_path / "t.csv").write_text("a\n1\n")
    with postgres.connect(company_url) as connection:
        connection.execute(f"create schema crm; create {kind} crm.t as select n from generate_series(1, 20000) as n")
        connection.execute("comment on " + kind + " crm.t is 'the customers'")
    for replace in (False, True):
        with pytest.raises(EvergreenError, match=r"^crm\.t is there already, with 20,000 rows, and .* nothing was changed"):
            load_file.load(company_url, tmp_path / "t.csv", "crm.t", replace=replace)
    assert rows(company_url, "select count(*), max(n) from crm.t") == [(20000, 20000)]


def test_an_earlier_load_is_replaced_when_that_is_asked_for(company_url, tmp_path):
    (tmp_path / "old.csv").write_text("id,a\n1,1\n2,2\n")
    (tmp_path / "new.csv").write_text("id,a\n3,3\n")
    load_file.load(company_url, tmp_path / "old.csv", "crm.t")
    with postgres.connect(company_url) as connection:
        connection.execute("alter table crm.t add primary key (id); create view crm.v as select a from crm.t")
    with pytest.raises(
        EvergreenError, match=r"with 2 rows that were loaded from old\.csv: nothing was changed\. Pass --replace"
    ):
        load_file.load(company_url, tmp_path / "new.csv", "crm.t")
    assert rows(company_url, "select count(*) from crm.t") == [(2,)]
    told = []
    load_file.load(company_url, tmp_path / "new.csv", "crm.t", told.append, replace=True)
    assert rows(company_url, "select a from crm.v") == [(3,)]
    assert rows(company_url, "select contype::text from pg_constraint where conrelid = 'crm.t'::regclass and contype = 'p'")
    assert told == ["crm.t held 2 rows of an earlier load: they are replaced."]


def test_an_earlier_load_of_other_columns_is_made_anew_and_that_is_told(company_url, tmp_path):
    (tmp_path / "old.csv").write_text("a\n1\n")
    (tmp_path / "new.csv").write_text("a\nx\n")
    load_file.load(company_url, tmp_path / "old.csv", "crm.t")
    told = []
    load_file.load(company_url, tmp_path / "new.csv", "crm.t", told.append, replace=True)
    assert rows(company_url, "select a from crm.t") == [("x",)]
    assert "keys, indexes and grants that it was given are gone" in told[0]
