"""What /predict answers to rows, and what it writes into its log before it does."""

import json
import math
import re

import pytest

from serving import spool
from tests.support import served_versions as versions
from tests.support.asking import ADMIN, Asking
from tests.support.served_versions import ROW

UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def lines(asking):
    return [json.loads(line) for path in spool.segments(asking.spool.folder) for line in path.read_bytes().splitlines()]


def sigmoid(margin):
    return 1 / (1 + math.exp(-margin))


def test_one_row_is_answered_by_an_object(asking):
    [answer] = asking.predict(ROW | {"customer_id": 17})
    found = answer.json
    assert answer.status == 200
    assert found["probability"] == pytest.approx(sigmoid(1.5 + 0.7 + 0.0 - 0.2 - 0.9), abs=1e-6)
    assert (found["decision"], found["tier"]) == (True, "high")
    assert (found["model"], found["version"], found["stale"]) == ("churn", 1, False)
    assert re.fullmatch(UUID7, found["prediction_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", found["scored_at"])


def test_several_rows_are_answered_by_an_array_in_their_order(asking):
    other = ROW | {"tenure_months": 60}
    [answer] = asking.predict([ROW, other, ROW])
    probabilities = [one["probability"] for one in answer.json]
    assert probabilities[0] == probabilities[2] > probabilities[1]


def test_requests_of_one_turn_share_a_run_and_each_gets_its_own(asking, served, monkeypatch):
    runs, plain = [], type(served).score
    monkeypatch.setattr(type(served), "score", lambda self, rows: runs.append(len(rows)) or plain(self, rows))
    low, high = ROW | {"monthly_charges": 20}, ROW | {"monthly_charges": 80}
    one, two, three = asking.predict(low, [high, low], high)
    assert runs == [4]
    assert one.json["probability"] == two.json[1]["probability"] < two.json[0]["probability"] == three.json["probability"]


def test_a_decision_is_positive_from_the_threshold_on(tmp_path, served):
    score = float(served.score([tuple(ROW.values())])[0])
    at = Asking(tmp_path / "at", versions.served(tmp_path / "one", threshold=score))
    above = Asking(tmp_path / "above", versions.served(tmp_path / "two", threshold=math.nextafter(score, 1)))
    found = [one.predict(ROW)[0].json for one in (at, above)]
    assert [(one["decision"], one["tier"]) for one in found] == [(True, "high"), (False, "low")]


def test_a_missing_value_is_null_and_an_unknown_text_is_scored_and_counted(asking):
    nothing = dict.fromkeys(ROW)
    [empty, unknown] = asking.predict(nothing, ROW | {"plan": "satellite"})
    assert (empty.status, unknown.status) == (200, 200)
    assert asking.metrics.unseen == {("unknown_category", "plan"): 1}


def test_what_training_has_not_seen_is_scored_with_a_warning(asking):
    [plain, odd, several] = asking.predict(
        ROW, ROW | {"plan": "satellite", "tenure_months": 72.5}, [ROW, ROW | {"monthly_charges": 18.0}]
    )
    assert plain.json["warnings"] == []
    assert odd.json["warnings"] == [
        {"field": "tenure_months", "type": "out_of_training_range", "msg": "Outside what training saw: 0 to 72."},
        {"field": "plan", "type": "unknown_category",
         "msg": "Training saw too few such values, or none: scored as unknown. Known: basic, fiber."},
    ]  # fmt: skip
    assert [[one["field"] for one in row["warnings"]] for row in several.json] == [[], ["monthly_charges"]]
    edges = asking.predict(*(ROW | {"tenure_months": months} for months in (0, 72, None)), ROW | {"plan": ""})
    assert [answer.json["warnings"] for answer in edges] == [[]] * 4
    assert asking.metrics.unseen["out_of_training_range", "tenure_months"] == 1
    assert "satellite" not in odd.body.decode()


def test_the_record_is_in_the_log_when_the_answer_comes(asking):
    [answer] = asking.predict(ROW | {"customer_id": "anna: 7"})
    [record] = lines(asking)
    found = answer.json
    assert record[0] == found["prediction_id"]
    assert record[2:9] == [1, 30, 14, found["probability"], True, "anna: 7", ROW]


def test_who_is_not_named_is_an_entity_of_its_own(asking):
    [answer] = asking.predict(ROW)
    [record] = lines(asking)
    assert record[7] == answer.json["prediction_id"]


def test_no_answer_without_a_record(asking, monkeypatch):
    def full(_lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(asking.spool, "write", full)
    [answer] = asking.predict(ROW)
    assert (answer.status, answer.faults) == (503, [(["body"][:0], "log_unavailable")])
    assert asking.metrics.log_failures == 1


def test_large_requests_are_answered_as_small_ones(asking):
    [large, small] = asking.predict([ROW] * 90, ROW)
    assert {one["probability"] for one in large.json} == {small.json["probability"]}
    assert len({one["prediction_id"] for one in large.json}) == 90
    assert len(lines(asking)) == 91


def test_a_synced_log_answers_the_same(tmp_path, served):
    asking = Asking(tmp_path / "log", served, durable=True)
    answers = asking.predict(*([ROW] * 5))
    assert [answer.status for answer in answers] == [200] * 5
    assert sorted(line[0] for line in lines(asking)) == sorted(answer.json["prediction_id"] for answer in answers)


def test_what_is_not_known_to_be_the_champion_any_more_is_stale(asking):
    asking.state.followed_at = None
    assert asking.predict(ROW)[0].json["stale"] is True


def test_nothing_to_serve_is_503(tmp_path):
    asking = Asking(tmp_path / "log")
    asking.state.trouble = "The ledger does not answer."
    [answer] = asking.predict(ROW)
    ready = asking.get("/ready")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert (ready.status, ready.json["reason"]) == (503, "The ledger does not answer.")
    assert asking.get("/health").status == 200


def test_one_probability_that_is_none_is_not_answered(asking, served, monkeypatch):
    monkeypatch.setattr(type(served), "score", lambda _self, rows: __import__("numpy").full(len(rows), math.nan))
    [answer] = asking.predict(ROW)
    assert (answer.status, answer.faults) == (500, [([], "score_not_finite")])
    assert lines(asking) == []


@pytest.mark.parametrize(
    ("header", "status", "kind"),
    [
        ("", 401, "key_missing"),
        ("Bearer eg_0000000a_another", 401, "key_invalid"),
        ("Bearer eg_ffffffff_predict", 401, "key_invalid"),
        ("Bearer", 401, "key_invalid"),
        ("Basic eg_0000000a_predict", 401, "key_invalid"),
        ("Bearer ééé", 401, "key_invalid"),
    ],
)
def test_who_has_no_key_is_refused(asking, header, status, kind):
    [answer] = asking.predict(ROW, authorization=header)
    assert (answer.status, answer.faults) == (status, [([], kind)])
    assert answer.headers["www-authenticate"] == "Bearer"


def test_who_may_administrate_may_predict_and_not_the_other_way_round(asking):
    [answer] = asking.predict(ROW, authorization=f"Bearer {ADMIN}")
    assert answer.status == 200
    assert asking.get("/metrics").faults == [([], "key_scope")]
    assert asking.get("/metrics", ADMIN).status == 200


def test_a_body_is_counted_while_it_comes_in(asking):
    too_much = [b"[" + b" " * 2**19] * 3
    before = asking.predict(b"", content_length=str(2**20 + 1))
    during = asking.predict(too_much)
    assert [answer.status for answer in [*before, *during]] == [413, 413]
    assert before[0].headers["connection"] == "close"


def test_a_body_may_come_in_parts(asking):
    whole = json.dumps(ROW).encode()
    [answer] = asking.predict([whole[:10], whole[10:40], whole[40:]])
    assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "kind"),
    [({"content_type": "text/plain"}, "content_type"), ({"content_encoding": "gzip"}, "content_encoding")],
)
def test_what_is_no_plain_json_is_415(asking, headers, kind):
    [answer] = asking.predict(ROW, **headers)
    assert (answer.status, answer.faults) == (415, [([], kind)])


def test_other_methods_and_paths(asking):
    [wrong, unknown] = asking.ask(("GET", "/predict", b"", {}), ("GET", "/nothing", b"", {}))
    assert (wrong.status, wrong.headers["allow"], wrong.faults) == (405, "POST", [([], "method_not_allowed")])
    assert (unknown.status, unknown.faults) == (404, [([], "not_found")])
