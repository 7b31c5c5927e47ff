"""A file becomes a table with the types of its values, or nothing changes."""

import bz2
import csv
import datetime
import gzip
import lzma
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.load import delimited, file_kinds, load_file
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

CASES = Path(__file__).parents[3] / "shared" / "cases"
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


def test_a_view_of_texts_is_text(company_url, tmp_path):
    pq.write_table(pa.table({"a": pa.array(["x", None], pa.string_view())}), tmp_path / "t.parquet")
    load_file.load(company_url, tmp_path / "t.parquet", "crm.t")
    assert rows(company_url, "select a from crm.t") == [("x",), (None,)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array(["x", "y\0z"]), "a NUL character"),
        (pa.array([b"x", b"\xc3("]).view(pa.string()), "bytes that are no UTF-8"),
        (pa.array([0, -800_000], pa.date32()), "a date before the year 1"),
        (pa.array([0, -63_000_000_000], pa.timestamp("s", "UTC")), "a date before the year 1"),
    ],
)
def test_a_value_of_parquet_that_postgres_cannot_keep_is_told_by_its_column(company_url, tmp_path, values, said):
    pq.write_table(pa.table({"n": [1, 2], "a b": values}), tmp_path / "t.parquet")
    with pytest.raises(EvergreenError, match=rf"t\.parquet: column 'a b' holds {said}\..* Nothing was loaded\.$"):
        load_file.load(company_url, tmp_path / "t.parquet", "crm.t")


@pytest.mark.parametrize("columns", [1500, 1601])
def test_a_table_too_wide_for_postgres_is_told_why(company_url, tmp_path, columns):
    header, numbers = (",".join(text) for text in ((f"c{n}" for n in range(columns)), ["123456789"] * columns))
    (tmp_path / "t.csv").write_text(f"{header}\n{numbers}\n")
    with pytest.raises(EvergreenError, match="at most 1,600 columns, and about 1,000 that are full of numbers"):
        load_file.load(company_url, tmp_path / "t.csv", "crm.t")


def test_a_file_that_cannot_be_read_leaves_the_table(company_url, tmp_path):
    (tmp_path / "good.csv").write_text("a\n1\n")
    (tmp_path / "bad.csv").write_text("a,b\n1\n")
    load_file.load(company_url, tmp_path / "good.csv", "crm.t")
    with pytest.raises(
        EvergreenError, match=r"bad\.csv, line 2: 1 value, where the header in line 1 has 2\. Nothing was loaded\.$"
    ):
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
        (["0.5", "2", "NA"], "double precision"),  # the shortest way to write them
        (["0.5", "2.0", "1e-05"], "double precision"),  # Python's
        (["0.50", "2.00", "-0.00"], "double precision"),  # two decimals each
        (["0.8444218515250481", "0.1"], "double precision"),
        (["0.12345678901234567890", "0.10000000000000000001"], "numeric"),  # more digits than a double has
        (["1", "2.5", "1e+05"], "double precision"),  # R writes it, and a sentence says so
        (["1", "2.5", "1e5"], "text"),  # codes look like that too
        (["1e5", "2e7"], "text"),
        (["0.5", "1.2345678901234568e-05"], "double precision"),
        (["0.5", "1.23456789012345671e-05"], "text"),  # a double would lose the last digit
        (["5.000000000000000000e-01", "1.000000000000000056e-01"], "double precision"),  # numpy's savetxt
        (["1e+308", "1e+309"], "text"),  # beyond a double, as is the next
        (["1e-400", "0.5"], "text"),
        (["+3000000001"], "text"),
        (["1.10", "1.1", "1.2"], "text"),  # versions
        (["5", "5.0", "2.5"], "text"),
        (["-0"], "text"),
        (["01", "02"], "text"),  # codes: a number would lose the zero
        (["0012", "1200"], "text"),
        (["12345678901234567890"], "text"),
        (["1234567890123456789", "12"], "text"),
        (["True", "false"], "boolean"),
        (["2024-02-29", "2024-03-01"], "date"),
        (["2024-02-29", "0000-00-00"], "date"),
        (["0000-00-00", ""], "text"),
        (["0000-01-01"], "text"),
        (["2024-02-30"], "text"),  # no such day
        (["31.12.2024"], "text"),
        (["12/31/2024"], "text"),
        (["2024-02-29", "2024-03-01 10:00:00.5"], "timestamp"),
        (["2024-03-01 10:00:00.1234567"], "text"),  # Postgres keeps six digits
        (["9999-12-31 00:00"], "timestamp"),
        (["2024-02-29T10:00:00Z"], "timestamptz"),
        (["2024-02-29 10:00:00+00"], "timestamptz"),
        (["2024-02-29 10:00:00+15:59"], "timestamptz"),
        (["2024-02-29 10:00:00+16:00"], "text"),  # Postgres takes no such offset
        (["1", " "], "text"),
        (["", ""], "text"),
        (["NA", ""], "text"),
    ],
)
def test_a_type_fits_every_value_and_prints_it_back(tmp_path, values, kind):
    (tmp_path / "t.csv").write_text("".join(f"{value},x\n" for value in ["a", *values]))
    assert types_of(tmp_path / "t.csv") == {"a": kind, "x": "text"}


def types_of(file, told=None, **options):
    header, kinds, _ = load_file._delimited(
        file, (told if told is not None else []).append, load_file.Options(**options), file.with_suffix(".arrow")
    )
    return dict(zip(header, kinds, strict=True))


def test_a_type_is_that_of_all_batches(company_url, tmp_path, monkeypatch):
    monkeypatch.setattr(load_file, "BATCH_VALUES", 1000)
    (tmp_path / "t.csv").write_text("n\n" + "1\n" * 5000 + "2.5\n")
    load_file.load(company_url, tmp_path / "t.csv", "crm.t")
    assert rows(company_url, "select sum(n), count(*) from crm.t") == [(5002.5, 5001)]


@given(st.lists(st.sampled_from(["1", "1.5", "1.50", "-2", "007", "1e5", "1e+05", "+1", "2.0", "", "NA", "0.1", "12.25"]),
                min_size=1, max_size=6), st.booleans())  # fmt: skip
def test_whatever_a_column_holds_prints_back_or_is_told(tmp_path_factory, values, german):
    """As numbers of Python, which print as Postgres does: each value, or a sentence about its column."""
    file = tmp_path_factory.mktemp("any") / "t.csv"
    written = [value.replace(".", ",") for value in values] if german else values
    file.write_text("".join(f"{value};x\n" for value in ["a", *written]))
    told = []
    kind = types_of(file, told)["a"]
    about = [line for line in told if "'a'" in line]
    if kind in ("double precision", "bigint") and not about:
        decimals = {len(value.partition(".")[2]) for value in values if value}
        for value in filter(None, values):
            number = float(value)
            assert value in (f"{number:g}", repr(number), *(f"{number:.{d}f}" for d in decimals if len(decimals) == 1)), value


GERMAN = "kunde;umsatz;rabatt\nK0;1.234;0,5\nK1;17;0,7\n"


@pytest.mark.parametrize(
    ("text", "column", "kind", "values", "said"),
    [
        (GERMAN, "umsatz", "double precision", [17, 1234], "Decimal commas in 'rabatt'.*'umsatz'"),
        (GERMAN.replace("0,", "0."), "umsatz", "double precision", [1.234, 17], None),
        (GERMAN.replace("0,5", "a").replace("0,7", "b"), "umsatz", "text", ["1.234", "17"], "the file does not tell which"),
        (GERMAN.replace(";", ",").replace("0,5", "5").replace("0,7", "7"), "umsatz", "double precision", [1.234, 17], None),
        ("a;umsatz;b\n0,5;1.234;1.5\n0,7;17;2.5\n", "umsatz", "text", ["1.234", "17"], "the file does not tell which"),
        ('a,umsatz\n1,"1,234"\n2,"17"\n', "umsatz", "text", ["1,234", "17"], "would not come back .*'1,234' in line 2"),
        ('a,umsatz\n"1.000,50",1.234\n"0,5",17\n', "umsatz", "text", ["1.234", "17"], "the file does not tell which"),
        ("a|umsatz\n0,5|1.234\n0,7|17\n", "umsatz", "text", ["1.234", "17"], "the file does not tell which"),
        ('a,b,umsatz\n"0,5",0.5,1.234\n"1,2",1.5,17\n', "umsatz", "double precision", [1.234, 17], None),
        ("a;umsatz\n0,5;1.234.567,89\n0,7;17,00\n", "umsatz", "double precision", [17, 1234567.89], "1.234 being 1234"),
        ("a;umsatz\n0.5;1,234\n0.7;17\n", "umsatz", "text", ["1,234", "17"], "the file does not tell which"),
    ],
)
def test_how_decimals_are_parted_is_the_files_own(company_url, tmp_path, text, column, kind, values, said):
    (tmp_path / "t.csv").write_text(text)
    told = []
    load_file.load(company_url, tmp_path / "t.csv", "crm.t", told.append)
    assert types(company_url, "t")[column] == kind
    assert [value for (value,) in rows(company_url, f"select {column} from crm.t order by 1")] == values
    assert (said is None and not [line for line in told if column in line]) or re.search(said, "\n".join(told))


OPEN = 'id,churn,note\n1,0,ok\n2,1,"pipe 5 inch\n3,0,ok\n4,1,ok\n'


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (OPEN, {}, "line 3: a quote opens there that is never closed"),
        (OPEN.replace("2,1,", '2,1,"a\nb",').replace("note", "note,more").replace("ok", "ok,ok"), {}, "line 4: a quote opens"),
        (OPEN + "1,0,ok\n" * 1000, {}, "line 3: a quote opens there that is never closed"),
        (OPEN + '5,1,"pipe 6 inch\n', {}, "line 3: a quote opens there that is closed in the middle"),
        ('a,b\n1,2\n"q" z,3\n', {}, "line 3: a quote opens there that is closed in the middle"),
        ("a,b\n1,2\n\n1,2,3\n", {}, "line 4: 3 values, where the header in line 1 has 2"),
        ("a;b\n1;2\n1\n", {}, "line 3: 1 value, where"),
        ("A report\n\na,b\n1,2\n", {}, "line 3: 2 values, .* Is there text above the header, or another delimiter"),
        (b"a,b\n1,\xc3\xa9\n2,\xc3\xa9\n3,\xff\n", {}, "line 4: bytes that are no UTF-8, as 2 other lines"),
        (b"a,b\n1,\xff\n", {"encoding": "utf-8"}, "line 2: bytes that are no utf-8"),
        ("a,b\n1,2\n", {"encoding": "utf-16"}, "is no utf-16: name its encoding"),
        ("a,b\n1,2\n", {"encoding": "klingon"}, "'klingon' is not known"),
        ("a,b\n1,2\n", {"encoding": "base64"}, "'base64' is not known"),
        (b"a,b\n1,\xc3\xa9\n2,\xc3", {}, "line 3: bytes that are no UTF-8, as 1 other lines"),
        ("a,b\n1," + "x" * (2**24 + 1) + "\n", {}, "line 2: field larger than field limit"),
        ("a," + "x" * (2**24 + 1) + "\n1,2\n", {}, "line 1: field larger than field limit"),
        ('"a\n' + "1\n" * 300, {}, "line 1: a quote opens there that is never closed"),
        ("a,b\n1,2\n", {"delimiter": "ab"}, "one character is needed"),
        ("id,市\n1,東京\n".encode("shift_jis"), {}, "line 1: neither UTF-8 nor Windows-1252. .*--encoding"),
        ("id,город\n1,Москва\n".encode("cp1251"), {}, "neither UTF-8 nor Windows-1252"),
        ("a,b\n1,2\n".encode("utf-16-le"), {}, "a NUL character"),
        ("2019,2020,2021\n1,2,3\n", {}, "the header, line 1, is all numbers"),
        ('{"a": 1}\n{"a": 2}\n', {}, "holds JSON"),
        ('[\n {"a": 1}\n]\n', {}, "holds JSON"),
        (b"PK\x03\x04 broken", {}, "is an archive"),
        (b"\xd0\xcf\x11\xe0 old", {}, "is a workbook"),
        (b"ARROW1\0\0", {}, "is an Arrow file"),
        ("a,b\nx,2\n", {"types": {"a": "bigint"}}, "line 2: 'x' in column 'a' is no bigint"),
        ("a,b\n01/02/2024,2\n", {"types": {"a": "date"}}, "line 2: '01/02/2024' in column 'a' is no date"),
        ("a,b\nx,2\n", {"types": {"c": "bigint"}}, "has no column 'c'. It has: 'a', 'b'"),
        ("a,b\nx,2\n", {"types": {"a": "int"}}, "offered are text, bigint"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_by_its_line_and_nothing_is_loaded(company_url, tmp_path, content, options, said):
    (tmp_path / "x.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EvergreenError, match=said) as error:
        load_file.load(company_url, tmp_path / "x.csv", "crm.t", lambda _: None, load_file.Options(**options))
    assert len(str(error.value).splitlines()) == 1
    assert rows(company_url, "select 1 from information_schema.tables where table_name = 't'") == []


def test_a_workbook_an_archive_and_a_folder_get_a_sentence_each(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, member in (("book.xlsx", "xl/workbook.xml"), ("files.zip", "a.csv")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "a\n1\n")
    (tmp_path / "a.csv").write_text("a\n1\n")
    with tarfile.open(tmp_path / "files.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.csv")
    (tmp_path / "broken.csv.gz").write_bytes(b"not compressed")
    (tmp_path / "gzip.csv").write_bytes(gzip.compress(b"a\n1\n"))
    (tmp_path / "bzip.csv").write_bytes(bz2.compress(b"a\n1\n"))
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(b"a\n1\n"))
    zipfile.ZipFile(tmp_path / "none.zip", "w").close()
    for name, said in {
        "folder": "is a folder", "book.xlsx": "is a workbook", "files.zip": "archive of 1 file", "files.tar.gz": "an archive",
        "broken.csv.gz": "cannot be decompressed", "gzip.csv": "rename it to end in .gz", "bzip.csv": "end in .bz2",
        "a.csv.xz": "compressed as xz", "none.zip": "archive of 0 file", "long" * 100: "file name too long",
    }.items():  # fmt: skip
        with pytest.raises(EvergreenError, match=said):
            file_kinds.is_parquet(tmp_path / name)


def test_a_value_that_swallows_rows_gets_a_word_and_every_line_is_accounted_for(tmp_path):
    (tmp_path / "t.csv").write_text('id,churn,note\n1,0,"pipe\n2,0,ok\n3,1,"\n4,1,"two\nlines"\n\n5,0,ok\n')
    told = []
    types_of(tmp_path / "t.csv", told)
    assert "Line 2: the value of 'note' runs over lines, 2 of which look like rows of their own. Is a quote open there?" in told
    assert told[-1] == "t.csv has 8 lines: 1 of the header, 3 rows, 3 within values, 1 blank."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# by hand, on Monday\na,b\n1,2\n", "Line 1 begins with # and was read as the header."),
        ("1,Anna,2024-01-01\n2,Bob,2024-01-02\n", "The header, line 1, holds '1', '2024-01-01'."),
        ("\ufeffa,b\n1,2\n\ufeffa,b\n3,4\na,b\n5,6\n", "2 rows are the header once more, the first in line 3."),
        ("#,name\n1,x\n", None),
    ],
)
def test_a_header_that_may_be_none_gets_a_word(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    told = []
    types_of(tmp_path / "t.csv", told)
    assert [line.partition(" If ")[0] for line in told[:-1]] == [said] * bool(said)


@pytest.mark.parametrize(
    ("content", "options"),
    [("\ufeff\ufeffa,b\n1,2\n".encode(), {}), ("a,b\n1,2\n".encode("utf-16"), {"encoding": "utf-16-le"})],
)
def test_no_byte_order_mark_stays_in_a_name(tmp_path, content, options):
    (tmp_path / "t.csv").write_bytes(content)
    assert types_of(tmp_path / "t.csv", **options) == {"a": "bigint", "b": "bigint"}


def test_a_long_name_is_a_name(tmp_path):
    (tmp_path / "t.csv").write_text("a," + "x" * 200_000 + "\n1,2\n")
    assert list(types_of(tmp_path / "t.csv").values()) == ["bigint", "bigint"]


def test_lines_that_nobody_accounts_for_are_an_error(tmp_path):
    found = delimited.Layout("utf-8", ",", ("a",), 0, 1)
    with pytest.raises(EvergreenError, match="has 5 lines, and 4 are accounted for"):
        delimited.check_account(tmp_path, delimited.Account(lines=5, rows=3), found)


@pytest.mark.parametrize(
    ("text", "header", "above"),
    [
        ("sep=;\na;b\n1;2\n", ("a", "b"), 1),
        ('"sep=|"\na|b\n1|2\n', ("a", "b"), 1),
        ("# made by hand\n#\n\na,b\n1,2\n", ("a", "b"), 3),
        ("#a,b\n1,2\n", ("#a", "b"), 0),
        ("# note, with a comma\n#a\tb\n1\t2\n", ("#a", "b"), 1),
        ("\n\na;netto, brutto\n1;2\n3;4\n", ("a", "netto, brutto"), 2),
    ],
)
def test_what_stands_above_the_header_is_no_header(tmp_path, text, header, above):
    (tmp_path / "t.csv").write_text(text)
    found = delimited.layout(tmp_path / "t.csv")
    assert (found.header, found.skipped) == (header, above)


def test_what_is_stored_otherwise_is_told_by_column(company_url, tmp_path):
    (tmp_path / "t.csv").write_text(
        "n,word,day,at,moment,flag\n"
        "5,\\N,2024-01-31,2024-01-31 10:00:00,2024-01-31 10:00:00+02,a\n"
        "NA,NA,0000-00-00,0000-00-00 00:00:00,NULL,\\N\n"
        " 7,x,2024-02-01,2024-01-31 10:00:00,2024-01-31 10:00:00+02,\n"
    )
    told = []
    load_file.load(company_url, tmp_path / "t.csv", "crm.t", told.append)
    assert rows(company_url, "select n, word, day::text, flag from crm.t order by n nulls last, word") == [
        (5, None, "2024-01-31", "a"), (7, "x", "2024-02-01", ""), (None, "NA", None, None)
    ]  # fmt: skip
    for line in (
        "Column 'n': NULL where it says NA (1 times).",
        "Column 'n': blanks around its values are not kept.",
        r"Column 'word': NULL where it says \N (1 times).",
        "Column 'day': 1 dates of zeros (0000-00-00) are NULL.",
        "Column 'at': 1 dates of zeros (0000-00-00) are NULL.",
        "Column 'moment': times are kept as moments and print in UTC; the offsets they were written with are not kept.",
    ):
        assert line in told


def test_blanks_around_days_and_days_without_a_time_are_told(company_url, tmp_path):
    (tmp_path / "t.csv").write_text("day,at,yes\n 2024-01-31,2024-01-31,true \n2024-02-01,2024-02-01 10:00,false\n")
    told = []
    load_file.load(company_url, tmp_path / "t.csv", "crm.t", told.append)
    assert types(company_url, "t") == {"day": "date", "at": "timestamp without time zone", "yes": "boolean"}
    assert told[:-1] == [
        "Column 'day': blanks around its values are not kept.",
        "Column 'at': 1 dates without a time are kept as midnight.",
        "Column 'yes': blanks around its values are not kept.",
    ]


def test_a_person_may_say_what_a_file_is(company_url, tmp_path):
    (tmp_path / "t.csv").write_bytes("zip^市^v\n1^東京^1.10\n2^大阪^1.1\n".encode("shift_jis"))
    entries = load_file.named_types(["zip=TEXT", "v=double precision"])
    load_file.load(company_url, tmp_path / "t.csv", "crm.t", print, load_file.Options("shift_jis", "^", entries))
    assert rows(company_url, 'select zip, "市", v from crm.t order by zip') == [("1", "東京", 1.1), ("2", "大阪", 1.1)]
    with pytest.raises(EvergreenError, match="write COLUMN=TYPE"):
        load_file.named_types(["zip"])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("smallint", "-32768", "40000"),
        ("integer", "+2147483647", "3000000000"),
        ("bigint", "-9223372036854775808", "9999999999999999999"),
        ("real", "0.0", "1e39"),
        ("double precision", "1e308", "1e400"),
        ("double precision", "0e400", "1e-400"),
        ("date", "2024-02-29", "2023-02-29"),
        ("timestamp", " 2024-02-29 10:00:00.5 ", "2024-01-01 25:00"),
        ("timestamptz", "2024-02-29T10:00Z", "2024-01-01 10:61:00+02"),
    ],
)
def test_a_value_beyond_a_named_type_is_told_by_its_line(company_url, tmp_path, kind, good, bad):
    options = load_file.Options(types={"a": kind})
    (tmp_path / "t.csv").write_text(f"id,a\n1,{good}\n2,\n")
    assert load_file.load(company_url, tmp_path / "t.csv", "crm.t", options=options) == 2
    (tmp_path / "t.csv").write_text(f"id,a\n1,{good}\n2,{bad}\n")
    with pytest.raises(EvergreenError, match=rf"t\.csv, line 3: {re.escape(repr(bad))} in column 'a' is no {kind}, which"):
        load_file.load(company_url, tmp_path / "t.csv", "crm.t", options=options, replace=True)


@pytest.mark.parametrize("said", [("zip", "column 2", "n", "n_2"), (" zip", "", "n", "n_2")])
def test_types_are_named_by_the_columns_of_the_table_or_of_the_file(company_url, tmp_path, said):
    (tmp_path / "t.csv").write_text(" zip,,n,n\n1,2,3,4\n")
    kinds = dict(zip(said, ("text", "numeric", "integer", "real"), strict=True))
    load_file.load(company_url, tmp_path / "t.csv", "crm.t", options=load_file.Options(types=kinds))
    assert types(company_url, "t") == {"zip": "text", "column 2": "numeric", "n": "integer", "n_2": "real"}


def test_one_mistake_of_a_parquet_files_name_or_options(company_url, tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table.csv")  # known by its bytes
    assert load_file.load(company_url, tmp_path / "table.csv", "crm.t") == 1
    with pytest.raises(EvergreenError, match="says itself what its columns are"):
        load_file.load(company_url, tmp_path / "table.csv", "crm.t", print, load_file.Options("utf-8"))


@pytest.mark.skipif(not CASES.exists(), reason="the small inputs lie beside the project")
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("ids.csv", {"zip": "text", "phone": "text", "hexid": "text", "version": "text", "acct19": "text", "upc": "text"}),
        ("german_thousands.csv", {"kunde": "text", "umsatz": "double precision", "rabatt": "double precision"}),
        ("zero_dates.csv", {"last_order": "date", "seen_at": "timestamp", "churn": "bigint"}),
        ("bigint.csv", {"account": "bigint"}),
        ("unclosed_quote.csv", "line 3: a quote opens there that is never closed"),
        ("shift_jis.csv", "name the file's encoding by --encoding"),
    ],
)
def test_the_small_inputs(tmp_path, name, kinds):
    shutil.copy(CASES / name, tmp_path)
    if isinstance(kinds, str):
        with pytest.raises(EvergreenError, match=f"(?i){kinds}"):
            types_of(tmp_path / name)
    else:
        assert kinds.items() <= types_of(tmp_path / name).items()


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
    header = ["Order", "order", "", "50% of :x", long + "one", long + "two", "ключ", "Order", "xmin"]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, range(len(header))])
    told = []
    load_file.load(company_url, tmp_path / "t.csv", "crm.t", told.append)
    found = [name for (name,) in rows(company_url, ORDERED)]
    assert found[:4] == ["Order", "order", "column 3", "50% of :x"]
    assert found[4:6] == [(long + "one")[:63], (long + "two")[:61] + "_2"]
    assert found[6:] == ["ключ", "Order_2", "xmin_2"]
    assert len([line for line in told if "is called" in line]) == 5


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
    assert told[-1] == "crm.t held 2 rows of an earlier load: they are replaced."


def test_an_earlier_load_of_other_columns_is_made_anew_and_that_is_told(company_url, tmp_path):
    (tmp_path / "old.csv").write_text("a\n1\n")
    (tmp_path / "new.csv").write_text("a\nx\n")
    load_file.load(company_url, tmp_path / "old.csv", "crm.t")
    told = []
    load_file.load(company_url, tmp_path / "new.csv", "crm.t", told.append, replace=True)
    assert rows(company_url, "select a from crm.t") == [("x",)]
    assert "keys, indexes and grants that it was given are gone" in told[-1]


def test_a_file_that_was_cut_off_is_one_sentence(company_url, tmp_path):
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (row, row**2) for row in range(30_000)))
    (tmp_path / "rows.csv.gz").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"a": list(range(1000))}), tmp_path / "rows.parquet")
    kept = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(kept[: len(kept) // 2])
    for name, said in (
        ("rows.csv.gz", "cannot be read to its end: it was cut off, or is broken"),
        ("rows.parquet", "no Parquet"),
    ):
        with pytest.raises(EvergreenError, match=rf"{said}.*Nothing was loaded"):
            load_file.load(company_url, tmp_path / name, "cut.rows")
