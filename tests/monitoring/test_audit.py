"""The bias audit: planted differences are found, thin evidence is called so, and harm is what is proven."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from monitoring.stages import audit
from pipelines.config.errors import EvergreenError

PARAMS = Path(__file__).parents[2] / "params.yaml"
NOTHING = {"harmed": [], "accepted": [], "unmatched": {}, "inconclusive": []}


def scored(group: str | None, positives: int, recall: float, negatives: int, fall_out: float) -> list[dict]:
    """Rows of one group, a customer each; exactly these shares of them score above 0.5."""
    rows = [(1, row < round(recall * positives)) for row in range(positives)]
    rows += [(0, row < round(fall_out * negatives)) for row in range(negatives)]
    return [
        {"customer_id": f"canary {group} {number}", "churned": label, "gender": group, "score_lightgbm": 0.9 if high else 0.1}
        for number, (label, high) in enumerate(rows)
    ]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Audit rows in a project folder of its own; returns audit.json's content."""
    monkeypatch.chdir(tmp_path)

    def run(rows: list[dict], bootstrap: int = 200, capacity: float | None = None, **limits) -> dict:
        values = YAML(typ="safe").load(PARAMS)
        values["data"] |= {"entity": "customer_id", "time": None, "target": "churned", "protected": ["gender"]}
        limited = {
            "min_rows": 100,
            "min_positives": 20,
            "max_tpr_shortfall": 0.2,
            "max_fpr_excess": None,
            "max_underestimation": None,
        }
        values["audit"] = {"report_rows": 500} | limited | limits
        values["evaluate"] |= {"bootstrap": bootstrap, "confidence": 0.95, "seed": 1, "capacity": capacity}
        YAML().dump(values, Path("params.yaml"))
        schema = [
            ("customer_id", pa.string()),
            ("churned", pa.int32()),
            ("gender", pa.string()),
            ("score_lightgbm", pa.float64()),
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(schema)), "scores.parquet")
        evaluation = {"challenger": "lightgbm", "candidates": {"lightgbm": {"threshold": 0.5}}}
        Path("evaluation.json").write_text(json.dumps(evaluation))
        Path("schema.json").write_text(json.dumps({"numbers": ["score"], "categories": {}}))
        ins = {"scores": "scores.parquet", "evaluation": "evaluation.json", "schema": "schema.json"}
        folders = {"training": "training.parquet", "models": "models", "ensemble": "ensemble", "audit": "audit.json"}
        audit.main(**{name: Path(path) for name, path in (ins | folders).items()})
        return json.loads(Path("audit.json").read_text())

    return run


def groups_of(found: dict) -> dict[str, dict]:
    return {group["group"]: group for group in found["attributes"]["gender"]}


def test_planted_recalls_are_found_and_proven(run):
    found = run(scored("f", 200, 0.95, 400, 0.1) + scored("m", 200, 0.30, 400, 0.1))
    groups = groups_of(found)

    assert groups["f"]["rates"]["tpr"]["value"]["point"] == pytest.approx(0.95)
    assert groups["m"]["rates"]["tpr"]["value"]["point"] == pytest.approx(0.30)
    assert groups["m"]["rates"]["tpr"]["difference"]["point"] == pytest.approx(0.30 - 0.625)
    assert groups["m"]["rates"]["tpr"]["ratio"]["point"] == pytest.approx(0.30 / 0.625)
    assert found["gaps"]["gender"]["tpr"]["difference"]["point"] == pytest.approx(0.65)
    assert found["verdict"]["attributes"] == {"gender": "significant"}
    (harm,) = found["verdict"]["harmed"]
    assert (harm["group"], harm["measure"], harm["raw"], harm["limit"]) == (
        "m",
        "added TPR shortfall",
        pytest.approx(0.65),
        0.2,
    )
    # 207 of 244 positives that the scores of f expect are selected, 90 of 140 of those of m
    assert harm["explained"] == pytest.approx(207 / 244 - 90 / 140)
    assert 0.3 < harm["low"] < harm["point"] == pytest.approx(0.65 - harm["explained"])


def test_equal_groups_are_shown_not_to_be_harmed_and_thin_ones_are_not(run):
    equal = scored("f", 400, 0.8, 600, 0.1) + scored("m", 400, 0.8, 600, 0.1)
    assert run(equal)["verdict"] == NOTHING | {"attributes": {"gender": "none"}, "hidden": ["gender"]}
    found = run(equal + scored("x", 10, 0.0, 30, 0.1))["verdict"]
    assert found["attributes"] == {"gender": "inconclusive"}
    assert found["inconclusive"] == [{"attribute": "gender", "group": "x", "why": "insufficient evidence"}]


def test_false_alarms_are_judged_where_a_limit_is_set(run):
    rows = scored("f", 200, 0.8, 400, 0.1) + scored("m", 200, 0.8, 400, 0.5)
    assert run(rows)["verdict"]["harmed"] == []
    assert run(rows, max_fpr_excess=0.2)["verdict"]["harmed"][0]["measure"] == "added FPR excess"
    assert run(rows, max_tpr_shortfall=None)["verdict"]["attributes"] == {"gender": "not judged"}


def test_each_gap_is_split_into_what_is_explained_and_what_is_added(run):
    lines = {
        (one["group"], one["rate"]): one
        for one in run(scored("f", 200, 0.95, 400, 0.1) + scored("m", 200, 0.3, 400, 0.1))["split"]
    }
    assert set(lines) == {(group, rate) for group in "fm" for rate in ("TPR shortfall", "FPR excess")}
    points = {part: lines["m", "TPR shortfall"][part]["point"] for part in ("raw", "explained", "added")}
    assert points["raw"] == pytest.approx(points["explained"] + points["added"])
    assert points["raw"] == pytest.approx(0.65)


def test_who_is_within_the_capacity_is_told_by_group(run):
    """Of 400 rows 150 score high, 75 of them can be acted on: each of them with one half."""
    rows = scored("f", 100, 0.8, 100, 0.2) + scored("m", 100, 0.4, 100, 0.1)
    for capacity in (75 / 400, 75):
        groups = groups_of(run(rows, capacity=capacity))
        points = {name: {rate: one["point"] for rate, one in group["at_capacity"].items()} for name, group in groups.items()}
        assert points["f"] == pytest.approx({"selection_rate": 0.25, "tpr": 0.4, "precision": 0.8})
        assert points["m"] == pytest.approx({"selection_rate": 0.125, "tpr": 0.2, "precision": 0.8})
    assert "at_capacity" not in groups_of(run(rows))["f"]


def test_what_is_accepted_is_no_harm_and_what_accepts_nothing_is_said(run, capsys):
    rows = scored("f", 200, 0.95, 400, 0.1) + scored("m", 200, 0.30, 400, 0.1)
    lines = {"gender: m": "the union agreed to it", "gender: x": "the union agreed to it"}
    found = run(rows, accepted=lines)["verdict"]
    assert (found["attributes"], found["harmed"]) == ({"gender": "accepted"}, [])
    assert found["accepted"][0]["reason"] == "the union agreed to it"
    assert "audit.accepted, gender: x: there is no such group" in capsys.readouterr().out


def test_an_attribute_that_no_model_sees_is_said_so(run):
    assert run(scored("f", 50, 0.8, 150, 0.2))["without"] == {"gender": {"seen": False}}


def test_every_rate_is_of_its_own_group(run):
    found = groups_of(run(scored("f", 100, 0.8, 300, 0.2) + scored("m", 40, 0.5, 60, 0.1)))["m"]

    points = {name: rate["value"]["point"] for name, rate in found["rates"].items()}
    assert (found["rows"], found["entities"], found["positives"]) == (100, 100, 40)
    decisions = {"base_rate": 0.4, "selection_rate": 0.26, "tpr": 0.5, "fpr": 0.1, "precision": 20 / 26}
    mean = (26 * 0.9 + 74 * 0.1) / 100
    scores = {"calibration": mean - 0.4, "calibration_selected": 0.9 - 20 / 26}
    scores["roc_auc"] = 0.5 * 0.9 + (0.5 * 0.1 + 0.5 * 0.9) / 2  # ties count half
    assert points == pytest.approx(decisions | scores)


def test_small_groups_are_insufficient_evidence_and_null_is_a_group(run):
    rows = scored("f", 50, 0.8, 150, 0.2) + scored("m", 19, 0.8, 150, 0.2) + scored(None, 30, 0.8, 60, 0.2)

    evidence = {name: group["evidence"] for name, group in groups_of(run(rows)).items()}

    assert evidence == {"f": "sufficient", "m": "insufficient evidence", "missing": "insufficient evidence"}


def test_a_rate_of_nothing_is_null(run):
    found = groups_of(run(scored("f", 50, 0.8, 150, 0.2) + scored("m", 0, 0.0, 150, 0.2)))

    assert found["m"]["rates"]["tpr"] == {"value": None, "difference": None, "ratio": None}


def test_intervals_resample_customers_not_rows():
    """Ten rows of each customer that agree in everything are worth one row, not ten."""
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 300), rng.random(300)
    widths = []
    for repeats in (1, 10):
        rows = audit.pd.DataFrame({"entity": np.arange(300), "label": label, "score": score, "group_g": "a"})
        params = audit.parameters.read(PARAMS)
        found = audit.measure(audit.pd.concat([rows] * repeats), 0.5, ["g"], params.audit, params.evaluate)
        tpr = found["whole"]["rates"]["tpr"]["value"]
        widths.append(tpr["high"] - tpr["low"])

    assert widths[1] == pytest.approx(widths[0])


def test_an_attribute_of_many_values_is_refused(run):
    rows = [row for number in range(51) for row in scored(f"group {number}", 1, 1, 1, 0)]

    with pytest.raises(EvergreenError, match="gender has 51 values, at most 50"):
        run(rows)


def test_no_rows_are_named(run):
    with pytest.raises(EvergreenError, match=r"scores\.parquet has no rows: run `dvc repro`"):
        run([])


def test_two_runs_write_the_same_figures(run):
    rows = scored("f", 50, 0.8, 150, 0.2) + scored("m", 30, 0.8, 150, 0.2)
    run(rows)
    first = Path("audit.json").read_bytes()
    run(rows)

    assert Path("audit.json").read_bytes() == first
