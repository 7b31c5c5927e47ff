"""The report site: whole pages, and nothing of the data that a browser would run."""

from html.parser import HTMLParser

import pytest

from monitoring.reports import site
from monitoring.reports import verdict as verdict_page
from pipelines import page
from pipelines.promotion.verdict import Verdict
from pipelines.validation import check_page
from tests.support.golden import assert_golden


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture
def reports(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "roc.svg").write_text("<svg/>")
    (tmp_path / "audit.html").write_text("<html></html>")
    return {"bias audit": tmp_path / "audit.html", "plots": tmp_path / "plots"}


PROMOTED = Verdict("better", "The challenger becomes champion.")


def write(folder, reports, verdict=PROMOTED, card="# card"):
    pages = verdict_page.pages("churn", 2, verdict)
    site.write_version(folder, "churn", 2, verdict=pages, card=card, reports=reports, links={"mlflow": "http://m"})
    return (folder / "churn" / "v2" / "index.html").read_text()


def test_a_version_links_its_reports_and_shows_its_plots(tmp_path, reports):
    tags = Tags(write(tmp_path / "site", reports)).found
    assert {attributes["href"] for tag, attributes in tags if tag == "a"} == {
        "../../index.html",
        "http://m",
        "audit.html",
        "verdict.html",
    }
    assert [attributes["src"] for tag, attributes in tags if tag == "img"] == ["plots/roc.svg"]
    assert (tmp_path / "site/churn/v2/audit.html").exists()


def test_a_version_lists_its_reports_with_a_sentence_each_and_none_that_is_not_there(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("index.html", "bias.html", "data.html"):
        (tmp_path / "model" / name).write_text("<html></html>")
    text = write(tmp_path / "site", {"reports": tmp_path / "model"})
    assert_golden("version.html", text)
    links = {attributes["href"] for tag, attributes in Tags(text).found if tag == "a"}
    assert {"model/index.html", "model/bias.html", "model/data.html"} <= links
    assert "model/drift.html" not in links
    assert "decisions and errors by protected group" in text
    assert (tmp_path / "site/churn/v2/model/bias.html").exists()


def test_pages_that_are_copied_lead_back_to_the_version_and_to_all_models(tmp_path):
    (tmp_path / "validation").mkdir()
    view = check_page.view("Validation", [], check_page.Above([]))
    for name in ("index.html", "great_expectations.html"):
        (tmp_path / "validation" / name).write_text(page.render("checks.html", **view))
    write(tmp_path / "site", {"data validation": tmp_path / "validation"})
    folder = tmp_path / "site/churn/v2/validation"
    links = {
        path.name: [attributes["href"] for tag, attributes in Tags(path.read_text()).found if tag == "a"]
        for path in folder.iterdir()
    }
    assert links["index.html"] == ["../../../index.html", "../index.html"]
    assert links["great_expectations.html"] == ["../../../index.html", "../index.html", "index.html"]
    for name, found in links.items():
        for link in found:
            assert (folder / link).resolve().exists() or link == "../../../index.html", (name, link)


def test_markup_in_texts_is_text(tmp_path, reports):
    attack = "<script>alert(1)</script> <img src=x onerror=alert(1)>"
    text = write(
        tmp_path / "site", {"plots": reports["plots"]}, verdict=Verdict("better", attack), card=f"| a |\n|---|\n| {attack} |"
    )
    assert "script" not in {tag for tag, _ in Tags(text).found}
    assert not any("onerror" in attributes for _, attributes in Tags(text).found)


def test_a_later_answer_replaces_the_verdict_and_nothing_else(tmp_path, reports):
    before = write(tmp_path / "site", reports, Verdict("awaits review", "A person is asked."))
    answered = verdict_page.pages("churn", 2, Verdict("approved", "Approved by Ada."))
    site.replace_verdict(tmp_path / "site", "churn", 2, answered)
    after = (tmp_path / "site/churn/v2/index.html").read_text()
    assert "A person is asked." in before and "A person is asked." not in after
    assert "Approved by Ada." in after and after.partition(site.END)[2] == before.partition(site.END)[2]
    assert "Approved by Ada." in (tmp_path / "site/churn/v2/verdict.html").read_text()
    site.replace_verdict(tmp_path / "site", "churn", 3, answered)  # has no pages: nothing to do
    assert not (tmp_path / "site/churn/v3").exists()


def test_writing_again_replaces_the_whole_page(tmp_path, reports):
    write(tmp_path / "site", reports)
    write(tmp_path / "site", {"plots": reports["plots"]})
    assert not (tmp_path / "site/churn/v2/audit.html").exists()
    assert [path.name for path in (tmp_path / "site/churn").iterdir()] == ["v2"]


def test_a_red_run_leaves_its_error_and_reports(tmp_path):
    (tmp_path / "reports" / "validation").mkdir(parents=True)
    (tmp_path / "reports" / "validation" / "index.html").write_text("red")
    path = site.write_red(tmp_path / "site", "churn", "run-1", error="column <b>x</b> is gone", reports=tmp_path / "reports")
    text = (tmp_path / "site" / path).read_text()
    assert "column &lt;b&gt;x&lt;/b&gt; is gone" in text
    assert 'href="validation/index.html"' in text and (tmp_path / "site/churn/red/run-1/validation/index.html").exists()
