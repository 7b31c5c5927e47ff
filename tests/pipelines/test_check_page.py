"""The page of a gate on data: what failed first, in the same header and style as every other page."""

from pipelines import page
from pipelines.page import Link, Table
from pipelines.validation import check_page
from pipelines.validation.checks import Check
from tests.support.golden import assert_golden

PASSED = Check("rows", None, "at least 10", "40,000 rows", True)
WARNED = Check("expect_set", "plan", "month, year", "40 of 40000 unexpected", False, "warning", kind="categories")
FAILED = Check("alone", "leak", "ROC-AUC below 0.95", "1.0000", False, kind="leak")
ROWS = Table(("Rows", "Number"), [("in the source", "41,000")])
ABOVE = check_page.Above(["40,000 rows."], [Link("More", "more.html")], ROWS)


def view(*checks):
    return check_page.view("Validation", checks, ABOVE)


def test_what_failed_comes_first_with_what_to_do():
    shown = view(PASSED, WARNED, FAILED)
    assert [row[0].word for row in shown["checks"].rows] == ["failed", "warning", "passed"]
    assert shown["checks"].rows[0][5:] == ["a column that knows the answer", FAILED.advice]
    assert (shown["word"], shown["counted"]) == ("failed", "3 checks: 1 failed, 1 warning.")


def test_a_warning_fails_nothing_and_what_passed_needs_no_advice():
    assert (view(PASSED, WARNED)["word"], view(PASSED, WARNED)["tone"]) == ("passed", "good")
    assert len(view(PASSED)["checks"].header) == len(view(PASSED)["checks"].rows[0]) == 5


def test_the_page_is_as_it_was_looked_at():
    assert_golden("checks.html", page.render("checks.html", **view(PASSED, WARNED, FAILED)))


def test_a_page_of_another_library_gets_our_header_and_another_way_back_where_it_lies():
    made = page.framed("<html><head></head><body class=x><p>theirs</p></body></html>", "a page", [("Evergreen", "up.html")])
    assert made.index('<a href="up.html">') < made.index("theirs")
    moved = page.with_trail(made, [("Evergreen", "../up.html"), ("<b>v2</b>", "")])
    assert '<a href="../up.html">' in moved and 'href="up.html"' not in moved and "&lt;b&gt;v2" in moved


def test_numbers_are_rounded_to_what_counts():
    shown = [page.number(value) for value in (0.00530215, -0.01, 12345.6, 0.5, float("nan"), None)]
    assert shown == ["0.0053", "−0.01", "12,346", "0.5", "–", "–"]
