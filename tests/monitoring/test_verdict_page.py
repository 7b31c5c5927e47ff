"""The page of a verdict: every comparison drawn, every check with its reason, and nothing that a browser would run."""

import re
from dataclasses import replace

import pytest

from monitoring.reports import verdict as page
from pipelines.promotion.verdict import Check, Comparison, Verdict

GAIN = Comparison("cost", "cost a row", 0.0123, 0.0101, 0.0145, 0.0)
LOST = Comparison("ROC-AUC", "", -0.004, -0.012, 0.004, -0.01)
EVIDENCE = {"rows": 33477, "entities": 4597, "positives": 1775, "use": 2, "detectable": 0.0061}
FAILED = Check("ROC-AUC not inferior", False, -0.012, -0.01, "the order of scores", "Look at both ROC curves.")
HEADLINE = "The champion stays: the challenger is better, and fails 'ROC-AUC not inferior'."
VERDICT = Verdict("not as good elsewhere", HEADLINE, [FAILED], EVIDENCE, [GAIN, LOST], "2025 abc", {"min_effect": 0.002})


def made(verdict: Verdict = VERDICT) -> str:
    return page.pages("churn", 2, verdict)[page.PAGE]


def test_every_comparison_is_drawn_where_its_numbers_are():
    html = page.drawing(GAIN, {"min_effect": 0.002})
    places = {name: float(at) for name, at in re.findall(r'class="(zero|bound)" x1="([\d.]+)%"', html)}
    low, high = map(float, re.search(r'class="reach" x1="([\d.]+)%" x2="([\d.]+)%"', html).groups())
    point = float(re.search(r'class="point" cx="([\d.]+)%"', html)[1])
    assert places["zero"] < places["bound"] < low < point < high
    assert (point - low) / (high - low) == pytest.approx((0.0123 - 0.0101) / (0.0145 - 0.0101), abs=0.01)
    assert "minimum effect 0.002" in html and 'class="yes"' in html
    assert 'class="no"' in page.drawing(LOST, {})


def test_a_page_says_the_verdict_the_evidence_the_reasons_and_what_to_do_next():
    html = made()
    for words in ("kept", "33,477 rows of 4,597 entities", "decision 2 made on rows of this pin", "true gain of 0.0061"):
        assert words in html, words
    assert "✕ failed" in html and "the order of scores" in html
    assert "<h2>Next</h2><p>Look at both ROC curves.</p>" in html
    assert "min_effect" in html


def test_it_says_which_comparison_is_of_the_newest_snapshots():
    assert "newest snapshots" not in made()
    html = made(replace(VERDICT, evidence=EVIDENCE | {"rows_over_all": 400_000}))
    assert "on the newest snapshots, 33,477 rows" in html and "all but the first comparison on all 400,000 rows" in html


def test_a_persons_answer_stands_on_the_page():
    answered = Verdict("rejected", "The champion stays.", review={"asked": 3, "answer": "reject", "by": "Ada", "comment": "no"})
    assert "<b>Ada</b> answered reject: no" in made(answered)


def test_a_comparison_without_numbers_is_said_and_not_drawn():
    assert "could not be computed" in page.drawing(Comparison("cost", "", None, None, None, 0.0), {})


def test_names_and_answers_are_text():
    attack = "<script>alert(1)</script>"
    check = Check(attack, False, attack, attack, attack, attack)
    verdict = Verdict("rejected", attack, [check], review={"answer": attack, "by": attack, "comment": attack})
    assert attack not in made(verdict) and "&lt;script&gt;" in made(verdict)
    assert attack not in page.summary(verdict)
