"""The report site: whole pages, and nothing of the data that a browser would run."""

from html.parser import HTMLParser

import pytest

from monitoring import site


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def decision(**changes):
    values = {
        "model": "churn",
        "version": 2,
        "decision": "kept",
        "reason": "too small",
        "made_at": "2025-01-01 10:00",
    }
    return site.Decision(**values | {"is_champion": False} | changes)


@pytest.fixture
def reports(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "roc.png").write_bytes(b"png")
    (tmp_path / "audit.html").write_text("<html></html>")
    return {"bias audit": tmp_path / "audit.html", "plots": tmp_path / "plots"}


def write(folder, reports, verdict="# Promoted", card="# card"):
    site.write_version(folder, "churn", 2, verdict=verdict, card=card, reports=reports, links={"mlflow": "http://m"})
    return (folder / "churn" / "v2" / "index.html").read_text()


def test_a_version_links_its_reports_and_shows_its_plots(tmp_path, reports):
    tags = Tags(write(tmp_path / "site", reports)).found
    assert {attributes["href"] for tag, attributes in tags if tag == "a"} == {"../../index.html", "http://m", "audit.html"}
    assert [attributes["src"] for tag, attributes in tags if tag == "img"] == ["plots/roc.png"]
    assert (tmp_path / "site/churn/v2/audit.html").exists()


def test_a_version_lists_its_reports_with_a_sentence_each_and_none_that_is_not_there(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("index.html", "bias.html", "data.html"):
        (tmp_path / "model" / name).write_text("<html></html>")
    page = write(tmp_path / "site", {"reports": tmp_path / "model"})
    links = {attributes["href"] for tag, attributes in Tags(page).found if tag == "a"}
    assert {"model/index.html", "model/bias.html", "model/data.html"} <= links
    assert "model/drift.html" not in links
    assert "decisions and errors by protected group" in page
    assert (tmp_path / "site/churn/v2/model/bias.html").exists()


def test_markup_in_texts_is_text(tmp_path, reports):
    attack = "<script>alert(1)</script> <img src=x onerror=alert(1)>"
    page = write(tmp_path / "site", {"plots": reports["plots"]}, verdict=attack, card=f"| a |\n|---|\n| {attack} |")
    site.write_index(tmp_path / "site", [decision(reason=attack)])
    index = (tmp_path / "site" / "index.html").read_text()
    for text in (page, index):
        assert "script" not in {tag for tag, _ in Tags(text).found}
        assert not any("onerror" in attributes for _, attributes in Tags(text).found)


def test_writing_again_replaces_the_whole_page(tmp_path, reports):
    write(tmp_path / "site", reports)
    write(tmp_path / "site", {"plots": reports["plots"]})
    assert not (tmp_path / "site/churn/v2/audit.html").exists()
    assert [path.name for path in (tmp_path / "site/churn").iterdir()] == ["v2"]


def test_a_red_run_leaves_its_error_and_reports(tmp_path):
    (tmp_path / "reports" / "validation").mkdir(parents=True)
    (tmp_path / "reports" / "validation" / "index.html").write_text("red")
    path = site.write_red(tmp_path / "site", "churn", "run-1", error="column <b>x</b> is gone", reports=tmp_path / "reports")
    page = (tmp_path / "site" / path).read_text()
    assert "column &lt;b&gt;x&lt;/b&gt; is gone" in page
    assert 'href="reports/validation/index.html"' in page


def test_the_champion_stands_out_in_the_index(tmp_path):
    site.write_index(tmp_path, [decision(), decision(version=1, decision="promoted", is_champion=True)])
    page = (tmp_path / "index.html").read_text()
    assert page.index("churn v2") < page.index("churn v1")
    assert page.count("champion") == 1
