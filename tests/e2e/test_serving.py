"""The API in the stack: after the first retraining it serves the champion, and the line that the summary prints works."""

import json
import shutil
import subprocess

import httpx
import pytest

from infra.stack import api, api_key
from pipelines.data import postgres
from pipelines.registry import ledger
from tests.support.clones import wait_for


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_line_that_is_printed_works_and_the_answer_is_kept(project):
    settings = project.settings
    champion = ledger.champion(settings.evergreen_url, "churn")
    api.wait_for(settings, champion.version)
    line = api.curl(settings, champion)
    done = subprocess.run(line, shell=True, cwd=settings.folder, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["model"], found["version"], found["stale"]) == ("churn", champion.version, False)
    assert 0 < found["probability"] < 1
    assert api_key.show(settings) not in line
    wait_for(lambda: _kept(settings, found["prediction_id"]), 20, "the answer in the ledger")


def _kept(settings, identity):
    with postgres.connect(settings.evergreen_url) as connection:
        asked = "select source from evergreen.predictions where prediction_id = %s"
        return connection.execute(asked, [identity]).fetchone() == ("api",)


def test_the_card_is_of_the_champion(project):
    settings = project.settings
    champion = ledger.champion(settings.evergreen_url, "churn")
    api.wait_for(settings, champion.version)
    headers = {"Authorization": f"Bearer {api_key.show(settings)}"}
    card = httpx.get(f"{settings.api_url}/model", headers=headers, trust_env=False).json()
    assert card["bundle_sha256"] == champion.bundle_sha256
    assert card["entity"] == "customer_id"
    assert {"tenure_months", "plan"} <= {feature["name"] for feature in card["features"]}
    assert "gender" not in {feature["name"] for feature in card["features"]}


def test_the_documentation_is_served_from_here(project):
    page = httpx.get(f"{project.settings.api_url}/docs", trust_env=False).text
    script = page.partition('src="')[2].partition('"')[0]
    assert httpx.get(f"{project.settings.api_url}{script}", trust_env=False).status_code == 200
