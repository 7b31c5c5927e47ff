"""False and true promotions of tuned and ensembled versions: `python -m studies.gate_study --folder FOLDER`.

The gate's other study is docs/studies/promotion.md.

Every version is made by the stages' own functions: split, tuning, cross-fitting, calibration, ensemble, choice of the
challenger. All of them see the very rows that judge the challenger, so whatever makes its figures optimistic shows here.
The world is that of `python -m studies.selftest promotion` (studies/selftest/world.py): the same customers, drawn anew.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines import onnx_model
from pipelines.config import params
from pipelines.promotion import gate
from pipelines.promotion.gate import Bundle
from pipelines.training.fitting import folds
from studies import offline
from studies.selftest import world

CUSTOMERS, TRUTH = 2_000, 60_000
KNOWN, HINTED = ("gender", "woman", "hint"), ("gender", "woman")  # what a version does not see
STEPS = 5
METRIC = "roc_auc"


def settings(trials: int) -> dict[str, Any]:
    """The project's params.yaml on the rows of the world."""
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(Path(params.__file__).parents[2] / "params.yaml")
    values["data"] |= {"entity": "customer", "time": None, "target": "left", "protected": [], "personal": []}
    values["monitor"] |= {"per_unit_columns": {}, "non_stationary_columns": []}
    values["candidates"]["enabled"] = {"linear": "cpu", "lightgbm": "cpu"}
    values["tune"]["trials"] = trials
    values["train"] |= {"threads": 1, "explain_rows": 10}
    values["promotion"] |= {"metric": METRIC, "min_effect": 0.0}
    return values


def make(rows: pa.Table, hidden: tuple[str, ...], values: dict[str, Any], folder: Path) -> tuple[Bundle, offline.Made]:
    """A version that does not see the columns `hidden`."""
    made = offline.retrain(rows, values | {"features": values["features"] | {"exclude": list(hidden)}}, folder)
    return made.write_bundle(folder.name), made


def equal(number: int, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Two versions of which neither knows more, made of two draws of the same customers, judged on the second."""
    champion, _ = make(world.rows(2 * number, CUSTOMERS), KNOWN, values, folder / "champion")
    challenger, made = make(world.rows(2 * number + 1, CUSTOMERS), KNOWN, values, folder / "challenger")
    verdict = gate.judge(challenger, champion, made.table, {}, made.config)
    return {"finding": verdict.finding, "challenger": made.challenger, **verdict.evidence}


def planted(number: int, seen: float, champion: Bundle, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A challenger that sees something of what moves the customers, which the champion does not."""
    challenger, made = make(world.rows(100_000 + number, CUSTOMERS, seen), HINTED, values, folder / "challenger")
    verdict = gate.judge(challenger, champion, made.table, {}, made.config)
    return {"finding": verdict.finding, "challenger": made.challenger, **verdict.evidence}


def true_gain(challenger: Bundle, champion: Bundle, seen: float) -> float:
    """In ROC-AUC, of the served files, on so many customers that chance plays no part."""
    everybody = world.rows(3_000_000, TRUTH, seen)
    labels = everybody["left"].to_numpy()
    new, old = (folds.measure(METRIC, labels, onnx_model.load(one.folder).score(everybody)) for one in (challenger, champion))
    return new - old


def run(pairs: int, values: dict[str, Any], folder: Path, say: Callable[[str], None]) -> str:
    """The tables as Markdown; results are kept in `folder`, and a run that is started again goes on from them."""
    kept = folder / "results.json"
    folder.mkdir(parents=True, exist_ok=True)
    found = json.loads(kept.read_text()) if kept.exists() else {"equal": [], "planted": []}

    def save() -> None:
        kept.write_text(json.dumps(found), encoding="utf-8")

    while len(found["equal"]) < pairs:
        found["equal"].append(equal(len(found["equal"]), values, folder))
        save()
        say(f"A/A {len(found['equal'])}: {dict(Counter(one['finding'] for one in found['equal']))}")
    champion, _ = make(world.rows(600_000, CUSTOMERS), KNOWN, values, folder / "reference")
    if "seen" not in found:
        found |= size(
            float(np.mean([one["minimum_detectable_effect"] for one in found["equal"]])), champion, values, folder, say
        )
        save()
    while len(found["planted"]) < pairs:
        found["planted"].append(planted(len(found["planted"]), found["seen"], champion, values, folder))
        save()
        say(f"planted {len(found['planted'])}: {dict(Counter(one['finding'] for one in found['planted']))}")
    return page(found)


def size(
    detectable: float, champion: Bundle, values: dict[str, Any], folder: Path, say: Callable[[str], None]
) -> dict[str, float]:
    """How much of the hint a challenger must see for a true gain of this size, by bisection; and that gain."""
    low, high, gain = 0.0, 0.6, 0.0
    for _ in range(STEPS):
        seen = (low + high) / 2
        challenger, _ = make(world.rows(700_000, CUSTOMERS, seen), HINTED, values, folder / "challenger")
        gain = true_gain(challenger, champion, seen)
        say(f"a hint of {seen:.3f} is worth {gain:.4f}, of {detectable:.4f} that are detectable")
        low, high = (seen, high) if gain < detectable else (low, seen)
    return {"seen": high, "gain": gain, "minimum_detectable_effect": detectable}


def page(found: dict[str, Any]) -> str:
    equals, better = found["equal"], found["planted"]
    promoted = [sum(one["finding"] == "better" for one in some) for some in (equals, better)]
    kinds = Counter(one["challenger"] for one in equals)
    mean = np.mean([one["gain"] for one in equals])
    return "\n".join(
        [
            "| what it is shown | promoted |",
            "|---|---|",
            f"| {len(equals)} A/A pairs, tuned and ensembled ({', '.join(f'{count} {kind}' for kind, count in kinds.items())}) "
            f"| {promoted[0]} ({promoted[0] / len(equals):.1%}); mean gain {mean:+.5f} |",
            f"| {len(better)} challengers whose true gain is about {found['gain']:.4f}, "
            f"{found['minimum_detectable_effect']:.4f} detectable "
            f"| {promoted[1]} ({promoted[1] / len(better):.0%}) |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--trials", type=int, default=4, help="of tuning, a candidate")
    parser.add_argument("--folder", type=Path, required=True, help="where results are kept, to go on from")
    options = parser.parse_args()
    print(run(options.pairs, settings(options.trials), options.folder, lambda line: print(line, flush=True)))


if __name__ == "__main__":
    main()
