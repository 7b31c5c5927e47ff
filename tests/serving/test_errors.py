"""Bad requests: 422 with where, what kind and what would be right; no value that was sent, and never a fault of ours."""

import json
import re
from pathlib import Path

import pytest

from serving import errors
from serving.errors import MOST_FAULTS
from tests.support.served_versions import ROW

CANARY = "canary-7f3a"


def with_raw(name: str, raw: str) -> bytes:
    """The row with one value written as it stands."""
    return json.dumps(ROW | {name: "HERE"}).replace('"HERE"', raw).encode()


def without(name: str) -> dict:
    return {key: value for key, value in ROW.items() if key != name}


VALUES = [
    (with_raw("tenure_months", "NaN"), ["body"], "json_invalid"),
    (with_raw("tenure_months", "-Infinity"), ["body"], "json_invalid"),
    (with_raw("tenure_months", "1e400"), ["body", "tenure_months"], "out_of_range"),
    (with_raw("tenure_months", "9" * 5000), ["body", "tenure_months"], "out_of_range"),
    (with_raw("tenure_months", "1e39"), ["body", "tenure_months"], "out_of_range"),
    (with_raw("tenure_months", "true"), ["body", "tenure_months"], "number_type"),
    (with_raw("tenure_months", f'"{CANARY}"'), ["body", "tenure_months"], "number_type"),
    (with_raw("tenure_months", "[1]"), ["body", "tenure_months"], "number_type"),
    (with_raw("senior", "2"), ["body", "senior"], "out_of_range"),
    (with_raw("senior", '"yes"'), ["body", "senior"], "bool_type"),
    (with_raw("plan", "5"), ["body", "plan"], "string_type"),
    (with_raw("plan", f'"{"x" * 1001}"'), ["body", "plan"], "string_too_long"),
    (with_raw("plan", '"\\ud800"'), ["body"], "json_invalid"),
    (with_raw("plan", '"\\u0000"'), ["body", "plan"], "nul_character"),
    (with_raw("plan", '"a\x00b"'), ["body"], "json_invalid"),
    (with_raw("plan", '"x"').replace(b'"x"', b'"\xff"'), ["body"], "json_invalid"),
    (json.dumps(without("plan")).encode(), ["body", "plan"], "missing"),
    (json.dumps(ROW | {"tenure": CANARY}).encode(), ["body", "tenure"], "extra_forbidden"),
    (json.dumps([ROW | {"Plan": CANARY}]).encode(), ["body", 0, "Plan"], "extra_forbidden"),
    (json.dumps(ROW | {"x" * 5000: CANARY}).encode(), ["body", "x" * 100], "extra_forbidden"),
    (b'{"plan":"fiber",' + json.dumps(ROW).encode()[1:], ["body", "plan"], "duplicate_field"),
    (json.dumps(ROW | {"customer_id": ""}).encode(), ["body", "customer_id"], "string_too_short"),
    (json.dumps(ROW | {"customer_id": "x" * 201}).encode(), ["body", "customer_id"], "string_too_long"),
    (json.dumps(ROW | {"customer_id": 2**70}).encode(), ["body", "customer_id"], "out_of_range"),
    (json.dumps(ROW | {"customer_id": True}).encode(), ["body", "customer_id"], "entity_type"),
    (json.dumps([ROW, without("plan")]).encode(), ["body", 1, "plan"], "missing"),
    (json.dumps([ROW, CANARY]).encode(), ["body", 1], "object_type"),
    (json.dumps([ROW] * 101).encode(), ["body"], "too_many_rows"),
    (b"[]", ["body"], "too_few_rows"),
    (b"", ["body"], "json_invalid"),
    (b"null", ["body"], "object_type"),
    (b"[" * 500_000, ["body"], "json_invalid"),
    (b'{"plan":' * 100_000, ["body", "plan"], "json_invalid"),
    (json.dumps(ROW).encode() + b"x", ["body"], "json_invalid"),
    (json.dumps(ROW).encode("utf-16"), ["body"], "json_invalid"),
]


@pytest.mark.parametrize(("body", "loc", "kind"), VALUES, ids=[f"{kind}-{place}" for place, (*_, kind) in enumerate(VALUES)])
def test_what_is_wrong_is_named_and_not_quoted(asking, body, loc, kind):
    [answer] = asking.predict(body)
    assert (answer.status, answer.faults) == (422, [(loc, kind)])
    assert CANARY.encode() not in answer.body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (ROW | {"tenure_month": 1}, "The model reads no field of this name. Did you mean tenure_months?"),
        (ROW | {"zzz": 1}, "The model reads no field of this name. GET /model lists those it reads."),
        (ROW | {"tenure_months": "5"}, "A number from -3.4028235e+38 to 3.4028235e+38, as float32 holds it, or null."),
        (ROW | {"senior": 2}, "true, false, a number from 0 to 1, or null."),
        (ROW | {"plan": "x" * 1001}, "A text of at most 1,000 characters, or null."),
        (ROW | {"customer_id": "x" * 201}, "A text of 1 to 200 characters, an integer from -9223372036854775807"),
        ([ROW] * 101, "1 to 100 rows a request, and these are 101."),
        (without("plan"), "This field is needed; null where the value is not known. A text of at most 1,000 characters"),
        (b"x", "The body is not JSON in UTF-8"),
        (with_raw("tenure_months", "1e400"), "A number from -3.4028235e+38"),
    ],
)
def test_what_would_be_right_is_said_with_its_limit(asking, body, said):
    [answer] = asking.predict(body)
    [fault] = answer.json["detail"]
    assert fault["msg"].startswith(said)


def test_every_refusal_has_words_of_its_own():
    """Every type that the code gives stands in CODES under its status, and so in the OpenAPI document."""
    code = "".join(path.read_text() for path in Path(errors.__file__).parent.glob("*.py"))
    given = {(int(status), kind) for status, kind in re.findall(r'\bhttp_error\((\d{3}), "(\w+)"', code)}
    given |= {(401, "key_missing"), (401, "key_invalid")} | {
        (422, kind) for kind in re.findall(r'"(\w+_type|\w+_range)"', code)
    }
    assert len(given) > 20
    for status, kind in given - {(422, "out_of_training_range"), (422, "content_type")}:
        assert errors.CODES[status][kind] != errors.words("", 0), (status, kind)


def test_all_that_is_wrong_is_told_up_to_a_limit(asking):
    [one, many] = asking.predict({"plan": 1, "senior": None}, [{}] * 90)
    assert [(loc[-1], kind) for loc, kind in one.faults] == [
        ("tenure_months", "missing"),
        ("monthly_charges", "missing"),
        ("plan", "string_type"),
        ("contract type", "missing"),
    ]
    assert len(many.faults) == MOST_FAULTS
    assert len(many.body) < 16_384


@pytest.mark.parametrize("plan", ['a: "quoted", \\u0000', "a\\\\u0000:b", "::::", "plan", '{"plan":1}', "日本語", "\u2028"])
def test_odd_texts_are_texts(asking, plan):
    [answer] = asking.predict(ROW | {"plan": plan})
    assert answer.status == 200


def test_a_wrong_query_is_refused_without_an_echo(asking):
    [answer] = asking.predict(ROW, query=f"?explain={CANARY}")
    assert (answer.status, answer.faults) == (422, [(["query", "explain"], "bool_parsing")])
    assert CANARY.encode() not in answer.body


def test_errors_are_counted_by_kind(asking):
    asking.predict({}, b"x")
    assert asking.metrics.refused == {(422, "missing"): 1, (422, "json_invalid"): 1}


def test_a_fault_of_ours_is_500_without_its_text(asking, served, monkeypatch, capfd):
    def broken(*_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr("serving.card.card", broken)
    monkeypatch.setattr(type(served), "score", broken)
    for answer in (asking.get("/model"), *asking.predict(ROW)):
        assert (answer.status, answer.faults) == (500, [([], "internal_error")])
    told = "".join(capfd.readouterr())
    assert "RuntimeError in test_errors.py" in told
    assert CANARY not in told
