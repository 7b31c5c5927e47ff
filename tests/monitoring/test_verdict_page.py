"""The page of a verdict: every comparison drawn, every check with its reason, and nothing that a browser would run."""

from dataclasses import replace

import pytest

from monitoring.reports import verdict as page
from pipelines.promotion.verdict import Check, Comparison, Verdict
from tests.support.golden import assert_golden

GAIN = Comparison("cost", "cost a row", 0.0123, 0.0101, 0.0145, 0.0)
LOST = Comparison("ROC-AUC", "", -0.004, -0.012, 0.004, -0.01)
EVIDENCE = {"rows": 33477, "entities": 4597, "positives": 1775, "reuse": 2, "minimum_detectable_effect": 0.0061}
FAILED = Check("ROC-AUC not inferior", False, -0.012, -0.01, "the order of scores", "Look at both ROC curves.")
HEADLINE = "The champion stays: the challenger is better, and fails 'ROC-AUC not inferior'."
VERDICT = Verdict("not as good elsewhere", HEADLINE, [FAILED], EVIDENCE, [GAIN, LOST], "2025 abc", {"min_effect": 0.002})


def view(verdict: Verdict = VERDICT) -> dict:
    return page.view("churn", 2, verdict)


def test_the_page_is_as_it_was_looked_at():
    assert_golden("verdict.html", page.pages("churn", 2, VERDICT)[page.PAGE])


def test_every_comparison_is_drawn_where_its_numbers_are():
    shown = page.drawing(GAIN, {"min_effect": 0.002})
    zero, least = (bound["x"] for bound in shown["bounds"])
    low, point, high = shown["ends"]
    assert zero < least < low < point < high
    assert (point - low) / (high - low) == pytest.approx((0.0123 - 0.0101) / (0.0145 - 0.0101), abs=0.01)
    assert shown["bounds"][1]["text"] == "minimum effect 0.002" and shown["tone"] == "good"
    assert page.drawing(LOST, {})["tone"] == "bad"


def test_limits_are_rounded_to_what_counts():
    assert "above 0.0053." in page.drawing(replace(GAIN, limit=0.00530215), {})["words"]
    assert page.view("churn", 2, Verdict("worse", "", [replace(FAILED, limit=0.00530215)]))["checks"].rows[0][3] == "0.0053"


def test_the_heading_names_model_version_decision_and_finding():
    shown = view()
    assert (shown["named"], shown["word"], shown["finding"]) == ("churn v2", "rejected", "worse in another metric")
    better = view(Verdict("better", "The challenger becomes champion."))
    assert (better["word"], better["tone"], better["finding"]) == ("promoted", "good", "better")
    assert view(Verdict("awaits review", ""))["word"] == "awaits review"


def test_a_page_says_the_evidence_the_reasons_and_what_to_do_next():
    shown = view()
    for words in ("33,477 rows of 4,597 entities", "decision 2 made on rows of this pin", "true gain of 0.0061"):
        assert words in shown["about"], words
    name, answer, *_, why, step = shown["checks"].rows[0]
    assert (name, answer.word, why, step) == (FAILED.name, "failed", FAILED.why, FAILED.next_step)
    assert shown["next"] == "Look at both ROC curves."
    assert shown["rules"].rows == [["min_effect", "0.002"]]


def test_it_says_which_comparison_is_of_the_newest_snapshots():
    assert "newest snapshots" not in view()["about"]
    about = view(replace(VERDICT, evidence=EVIDENCE | {"rows_over_all": 400_000}))["about"]
    assert "on the newest snapshots, 33,477 rows" in about and "all but the first comparison on all 400,000 rows" in about
    drawn = view(replace(VERDICT, evidence=EVIDENCE | {"rows_over_all": 400_000, "rows_judgeable": 900_000}))
    assert "on 400,000 rows, drawn from 900,000 by what they counted in its training" in drawn["about"]
    titles = [comparison["title"] for comparison in drawn["comparisons"]]
    assert titles[0].endswith(", newest snapshots") and all(title.endswith(", all snapshots") for title in titles[1:])


def test_a_persons_answer_stands_on_the_page():
    review = {"asked": 3, "answer": "reject", "by": "Ada", "comment": "no"}
    assert view(Verdict("rejected", "The champion stays.", review=review))["review"] == review
    assert view(Verdict("awaits review", "", review={"asked": 3}))["review"] is None


def test_a_comparison_without_numbers_is_said_and_not_drawn():
    assert page.drawing(Comparison("cost", "", None, None, None, 0.0), {})["ends"] is None


def test_names_and_answers_are_text():
    attack = "<script>alert(1)</script>"
    check = Check(attack, False, attack, attack, attack, attack)
    verdict = Verdict("rejected", attack, [check], review={"answer": attack, "by": attack, "comment": attack})
    for text in page.pages("churn", 2, verdict).values():
        assert attack not in text and "&lt;script&gt;" in text
