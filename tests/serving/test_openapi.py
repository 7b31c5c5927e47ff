"""The OpenAPI document says what the version that serves takes and gives; Schemathesis asks what it allows, and what not."""

from __future__ import annotations

import json
import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from serving.errors import CODES
from tests.support import served_versions as versions
from tests.support.asking import ADMIN, KEY, Asking
from tests.support.limits import LONGEST_ANSWER
from tests.support.served_versions import ROW

FEW, MANY = 60, 500
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate], "database": None}


@pytest.fixture
def document(asking):
    return asking.get("/openapi.json").json


def test_the_schema_is_of_the_versions_own_features(document):
    row = document["components"]["schemas"]["Row"]
    assert row["properties"].keys() == {*ROW, "customer_id"}
    assert row["required"] == list(ROW)
    assert row["additionalProperties"] is False
    assert row["properties"]["tenure_months"]["description"] == "In training from 0 to 72."
    assert row["properties"]["plan"]["description"].startswith("Known: basic, fiber.")
    assert document["info"]["version"] == "v1"


def test_the_page_names_model_and_version_and_says_what_each_code_means(document):
    assert document["info"]["title"] == "Evergreen: churn v1"
    assert "answers by **churn v1** (lightgbm, trained as of 2024-12-31)" in document["info"]["description"]
    found = document["paths"]["/predict"]["post"]["responses"]
    assert {"200", "400", "401", "403", "409", "413", "415", "422", "500", "503"} <= found.keys()
    for status, kinds in CODES.items():
        if str(status) in found:
            assert all(f"`{kind}`: {meaning}" in found[str(status)]["description"] for kind, meaning in kinds.items())
    assert found["422"]["content"]["application/json"]["schema"]["properties"]["detail"]["items"]["required"] == [
        "loc", "type", "msg"
    ]  # fmt: skip


def test_the_example_in_the_document_is_answered(asking, document):
    [answer] = asking.predict(document["components"]["schemas"]["Row"]["example"])
    assert answer.status == 200
    answered = document["components"]["schemas"]["Answer"]["properties"]
    assert answer.json.keys() == answered.keys()


def test_the_document_follows_the_version(asking, tmp_path):
    asking.state.served = versions.served(tmp_path / "second", version=2)
    assert asking.get("/openapi.json").json["info"]["version"] == "v2"


def test_without_a_version_there_is_a_document_still(tmp_path):
    assert Asking(tmp_path / "log").get("/openapi.json").status == 200


def test_the_pages_ask_no_foreign_server(asking):
    page = asking.get("/docs").body.decode()
    assert "/static-offline-docs/swagger-ui-bundle.js" in page
    assert "https://" not in page.replace("https://fastapi.tiangolo.com", "")


def test_the_card_says_version_threshold_and_features(asking):
    found = asking.get("/model").json
    assert (found["version"], found["threshold"], found["tiers"]) == (1, 0.5, {"low": 0.0, "high": 0.5})
    assert found["features"][0] == {"name": "tenure_months", "type": "number", "range": [0.0, 72.0]}
    assert found["features"][2]["type"] == "boolean"
    assert found["features"][3] == {"name": "plan", "type": "text", "values": ["basic", "fiber"]}
    assert found["held_out"]["metrics"]["roc_auc"] == {"point": 0.8, "low": 0.7, "high": 0.9}


def test_the_metrics_are_what_prometheus_reads(asking):
    from prometheus_client.parser import text_string_to_metric_families

    asking.predict(ROW, [ROW, ROW | {"plan": "new"}], {})
    text = asking.get("/metrics", ADMIN).body.decode()
    found = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert found["evergreen_predict_rows_total"].value == 3
    assert found["evergreen_predict_seconds_count"].value == 2
    assert found["evergreen_unknown_values_total"].labels == {"feature": "plan"}
    assert found["evergreen_refused_requests_total"].labels == {"status": "422", "kind": "missing"}
    assert found["evergreen_version"].labels == {"model": "churn", "version": "1"}
    assert found["evergreen_stale"].value == 0


def cases(document, mode, count):
    """Requests to every operation that Schemathesis makes of the document: (method, path, body, headers)."""
    import schemathesis
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_dict(document)
    found = []
    for operation in (result.ok() for result in schema.get_all_operations()):
        if mode == GenerationMode.NEGATIVE and operation.path != "/predict":
            continue

        @settings(max_examples=count, **QUIET)
        @given(operation.as_strategy(generation_mode=mode))
        def collect(case):
            sent = case.as_transport_kwargs(base_url="http://api")
            content = json.dumps(sent["json"]).encode() if sent.get("json") is not None else sent.get("data") or b""
            content = content if isinstance(content, bytes) else str(content).encode()
            explain = str(sent.get("params", {}).get("explain", "")).lower()
            key = ADMIN if case.path == "/metrics" else KEY
            found.append((case.method, f"{case.path}?explain={explain}" if explain else case.path, content, key))

        collect()
    return found


def check(asking, document, mode, count, allowed):
    for method, path, body, key in cases(document, mode, count):
        [answer] = asking.ask((method, path, body, {"authorization": f"Bearer {key}"}))
        assert answer.status in allowed, (method, path, answer.status, answer.body[:300], body[:300])
        assert len(answer.body) < LONGEST_ANSWER or path in {"/metrics", "/model"} or answer.status == 200


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("mode", "allowed"), [("POSITIVE", {200, 422, 503}), ("NEGATIVE", {200, 401, 403, 405, 415, 422, 503})]
)
def test_what_schemathesis_asks_is_no_fault_of_ours(asking, document, mode, allowed, count):
    from schemathesis import GenerationMode

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Schemathesis and what it draws from
        check(asking, document, GenerationMode[mode], count, allowed)
