"""Generated requests: none that is valid is refused, and none that is not ends in a fault of ours or in a long answer."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from serving.columns import LARGEST
from tests.support.asking import Asking
from tests.support.limits import LONGEST_ANSWER
from tests.support.served_versions import KNOWN, ROW

FEW, MANY_VALID, MANY_INVALID = 300, 10_000, 20_000
TOGETHER = 100  # requests of one turn
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate], "database": None}

number = st.none() | st.integers(-(10**30), 10**30) | st.floats(-LARGEST, LARGEST, allow_nan=False, width=64)
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
text = st.none() | st.sampled_from([value for values in KNOWN.values() for value in values]) | st.text(characters, max_size=200)
flag = st.none() | st.booleans() | st.integers(0, 1) | st.floats(0, 1)
entity = st.none() | st.text(characters, min_size=1, max_size=100) | st.integers(-(2**63) + 1, 2**63 - 1)
row = st.fixed_dictionaries(
    {"tenure_months": number, "monthly_charges": number, "senior": flag, "plan": text, "contract type": text},
    optional={"customer_id": entity},
)
valid = row | st.lists(row, min_size=1, max_size=5)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)
wrong = {
    "tenure_months": st.text() | st.booleans() | st.lists(anything, max_size=2) | st.sampled_from([1e39, -1e300, 10**400]),
    "senior": st.text() | st.floats(1.001, 1e9) | st.lists(anything, max_size=2),
    "plan": st.integers() | st.booleans() | st.text(min_size=1001, max_size=1100) | st.just("a\x00") | st.just("\ud800"),
    "customer_id": st.just("") | st.booleans() | st.floats() | st.just(2**64) | st.text(min_size=201, max_size=300),
}


@st.composite
def broken_row(draw):
    """A valid row with one thing wrong."""
    found = draw(row)
    kind = draw(st.sampled_from(["value", "missing", "extra", "shape"]))
    if kind == "value":
        name = draw(st.sampled_from(sorted(wrong)))
        return found | {name: draw(wrong[name])}
    if kind == "missing":
        gone = draw(st.sampled_from(sorted(ROW)))
        return {name: value for name, value in found.items() if name != gone}
    if kind == "extra":
        return found | {draw(st.text(min_size=1).filter(lambda name: name not in {*ROW, "customer_id"})): draw(anything)}
    return draw(anything.filter(lambda value: not isinstance(value, dict) or not value.keys() >= ROW.keys()))


def as_bytes(value) -> bytes:
    """JSON as Python writes it: NaN and Infinity among it, and lone surrogates as escapes."""
    return json.dumps(value).encode()


invalid = st.builds(as_bytes, broken_row()) | st.builds(
    lambda rows, bad, at: as_bytes([*rows[:at], bad, *rows[at:]]), st.lists(row, max_size=3), broken_row(), st.integers(0, 3)
)


def mangled(number: int) -> bytes:
    """Bytes of a valid request, with harm done to them; the same for the same number."""
    drawn = random.Random(number)
    content = bytearray(json.dumps(ROW if number % 2 else [ROW, ROW]).encode())
    for _ in range(drawn.randrange(1, 6)):
        at = drawn.randrange(len(content))
        kind = drawn.randrange(6)
        if kind == 0:
            content[at] = drawn.randrange(256)
        elif kind == 1:
            del content[at : at + drawn.randrange(1, 20)]
        elif kind == 2:
            content[at:at] = drawn.randbytes(drawn.randrange(1, 20))
        elif kind == 3:
            content[at:at] = drawn.choice([b"[" * 5000, b'{"a":' * 2000, b"9" * 400, b"NaN", b"\\ud800", b"\xff\xfe", b"\x00"])
        elif kind == 4:
            content[at:at] = content[drawn.randrange(len(content)) :]
        else:
            content = content[:at]
        if not content:
            return b""
    return bytes(content)


def generated(strategy, count: int, seed: int) -> list:
    """So many examples of a strategy."""
    found: list = []

    @settings(max_examples=count, **QUIET)
    @given(strategy)
    def collect(example):
        found.append(example)

    collect._hypothesis_internal_use_seed = seed
    collect()
    return found[:count]


def in_turns(asking, bodies):
    """Answers to bodies, many in a turn."""
    for start in range(0, len(bodies), TOGETHER):
        some = bodies[start : start + TOGETHER]
        yield from zip(some, asking.predict(*some), strict=True)


def check_valid(asking, count):
    bodies = [as_bytes(one) for one in generated(valid, count, 1)]
    refused = [(body[:300], answer.body[:300]) for body, answer in in_turns(asking, bodies) if answer.status != 200]
    assert refused == []
    return len(bodies)


def check_invalid(asking, bodies):
    for body, answer in in_turns(asking, bodies):
        assert answer.status == 422, (answer.status, answer.body[:300], body[:300])
        assert len(answer.body) < LONGEST_ANSWER
        assert {key for fault in answer.json["detail"] for key in fault} == {"loc", "type", "msg"}


def check_mangled(asking, numbers):
    """Some of them are still valid."""
    statuses = []
    for body, answer in in_turns(asking, [mangled(number) for number in numbers]):
        statuses.append(answer.status)
        assert answer.status in {200, 422}, (answer.status, body[:300])
        assert len(answer.body) < LONGEST_ANSWER
    return statuses


def test_valid_requests_are_answered(asking):
    assert check_valid(asking, FEW) == FEW


def test_invalid_requests_are_refused(asking):
    check_invalid(asking, generated(invalid, FEW, 2))


def test_mangled_bytes_are_no_fault_of_ours(asking):
    statuses = check_mangled(asking, range(FEW))
    assert {*statuses} == {200, 422}


@pytest.mark.long
def test_ten_thousand_valid_requests_are_answered(tmp_path, served):
    assert check_valid(Asking(tmp_path / "log", served), MANY_VALID) == MANY_VALID


@pytest.mark.long
def test_twenty_thousand_invalid_requests_are_refused(tmp_path, served):
    asking = Asking(tmp_path / "log", served)
    bodies = generated(invalid, MANY_INVALID // 2, 3)
    assert len(bodies) == MANY_INVALID // 2
    check_invalid(asking, bodies)
    check_mangled(asking, range(MANY_INVALID // 2))
