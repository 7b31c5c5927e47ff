"""Whether retraining heals: `python -m studies.healing --folder FOLDER`; kept in docs/studies/healing.md.

Each seed is two companies of the demo's simulator: one in which a competitor changes who leaves from month 15 on, and one
in which nothing happens. Both are retrained by the stages' own functions, as of the months around the moment at which
the first changed snapshot has mature labels, and judged by the gate. How good a champion is, is measured on the months that
follow, against the true probabilities.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from examples.telecom import company, load, worlds
from infra.stack import postgres_server
from pipelines.config import params
from pipelines.config.params import Params
from pipelines.data import postgres
from pipelines.promotion import gate
from pipelines.promotion.gate import Bundle
from pipelines.statistics import metrics
from studies import offline

CHANGED = 15  # the month whose leavers are the first ones of the new world
RETRAINED = (14, 17, 18)  # ends of months: the last before the change; the first snapshots of it have matured; a window later
NEW = (18, 19, 20, 21)  # ends of months whose snapshots show how good a champion is
WORLDS = {"changed": frozenset({"concept_shift"}), "quiet": frozenset[str]()}
CLOSE = 0.02  # ROC-AUC below the true probabilities'

Versions = dict[int, tuple[pa.Table, offline.Made, Bundle]]  # month -> its rows, and what was made of them


def settings(candidates: dict[str, str], trials: int) -> dict[str, Any]:
    """The project's params.yaml, with fewer candidates, trials and resamples."""
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(Path(params.__file__).parents[2] / "params.yaml")
    values["data"] |= {"as_of": None, "fingerprint": None, "protected": []}
    values["candidates"]["enabled"] = candidates
    values["tune"]["trials"] = trials
    values["train"] |= {"threads": 1, "explain_rows": 10}
    values["evaluate"]["bootstrap"] = 400
    return values


def live(url: str, config: Params, month: int, history: int) -> pa.Table:
    """The training query as of a month's end."""
    data = config.data
    binds = {"as_of": company.month_end(month).item(), "history_days": history}
    binds |= {"horizon_days": data.horizon_days, "embargo_days": data.embargo_days}
    with (
        postgres.snapshot(url) as source,
        source.batches(postgres.bind(worlds.QUERY, binds), order_by=data.key_columns) as batches,
    ):
        return batches.read_all()


def follow(url: str, values: dict[str, Any], folder: Path, made_before: Versions) -> dict[str, Any]:
    """One company, retrained month after month: what the gate said, and each champion on the months that follow.

    Args:
        made_before: versions of the other world; before the worlds part, their rows are the same, and so are the versions.
    """
    from pipelines import onnx_model

    config = Params.model_validate(values)
    everything = live(url, config, worlds.LAST_MONTH, 2 * 366)
    days = [np.datetime64(company.month_end(month)).item() for month in NEW]
    new = everything.filter(pc.is_in(everything[config.data.time], pa.array(days, everything[config.data.time].type)))
    asked = new.select(["customer_id", "snapshot_date", "churned"]).rename_columns(["customer_id", "snapshot_date", "label"])
    champion, said = None, []
    for month in RETRAINED:
        rows = live(url, config, month, config.data.history_days)
        if month not in made_before or not made_before[month][0].equals(rows):
            made = offline.retrain(rows, values, folder / str(month))
            made_before[month] = rows, made, made.write_bundle(str(company.month_end(month)))
        _, made, challenger = made_before[month]
        if champion is None:
            verdict, finding = None, "first"
        else:
            verdict = gate.judge(challenger, champion, made.table, {}, config)
            finding = verdict.finding
        if verdict is None or verdict.outcome == "promoted":
            champion = challenger
        scores = onnx_model.load(champion.folder).score(new)
        auc = float(metrics.roc_auc(new["churned"].to_numpy(), scores, np.ones((1, new.num_rows)))[0])
        step = {"month": month, "finding": finding, "auc": auc, "challenger": made.challenger, "since": made.since}
        said.append(step)
    return {"oracle": load.oracle_auc(url, rows=asked), "retrained": said}


def page(results: list[dict[str, Any]]) -> str:
    """The tables as Markdown."""
    last = RETRAINED[-1]
    champions = " | ".join(f"champion after month {month}" for month in RETRAINED)
    lines = [f"| seed | oracle | {champions} | the present since | findings |"]
    lines += ["|---" * (len(RETRAINED) + 4) + "|"]
    for result in results:
        found = result["changed"]["retrained"]
        cells = [str(result["seed"]), f"{result['changed']['oracle']:.4f}", *(f"{step['auc']:.4f}" for step in found)]
        cells += [", ".join(str(step["since"]) for step in found), ", ".join(step["finding"] for step in found[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    gaps = [result["changed"]["oracle"] - result["changed"]["retrained"][-1]["auc"] for result in results]
    healed = sum(gap <= CLOSE for gap in gaps)
    again = [step for result in results for step in result["quiet"]["retrained"][1:]]
    promoted = sum(step["finding"] == "better" for step in again)
    weighed = sum(step["since"] is not None for step in again)
    return "\n".join(
        [
            *lines,
            "",
            f"Within {CLOSE} of the oracle after month {last}: {healed} of {len(results)} companies, "
            f"{np.mean(gaps):.4f} below it in the mean.",
            f"Quiet companies: {promoted} of {len(again)} retrainings were promoted; {weighed} found a new present.",
        ]
    )


def run(seeds: Iterable[int], customers: int, folder: Path, values: dict[str, Any], say: Callable[[str], None]) -> list[dict]:
    """One result a seed, kept in `folder`: run again, it goes on where it stopped."""
    results = []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with postgres_server.running(Path(scratch) / "data", port, "only-for-healing") as url:
            for seed in seeds:
                kept = folder / f"{seed}.json"
                if not kept.exists():
                    found: dict[str, Any] = {"seed": seed}
                    made_before: Versions = {}
                    for world, shifts in WORLDS.items():
                        begins = company.SHIFT_BEGINS | {"concept_shift": CHANGED}
                        load.load_demo(url, customers=customers, seed=seed, shifts=shifts, begins=begins, say=lambda _: None)
                        found[world] = follow(url, values, Path(scratch) / world, made_before)
                    kept.write_text(json.dumps(found), encoding="utf-8")
                    say(f"seed {seed}: {json.dumps(found)}")
                results.append(json.loads(kept.read_text(encoding="utf-8")))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(1, 20), help="the first and the last one")
    parser.add_argument("--customers", type=int, default=12_000)
    parser.add_argument("--trials", type=int, default=0, help="of tuning, a candidate")
    parser.add_argument("--candidates", nargs="+", default=["linear", "lightgbm"])
    parser.add_argument("--folder", type=Path, required=True, help="where results are kept, to go on from")
    options = parser.parse_args()

    def say(line: str) -> None:
        print(line, flush=True)

    values = settings(dict.fromkeys(options.candidates, "cpu"), options.trials)
    print(page(run(range(options.seeds[0], options.seeds[1] + 1), options.customers, options.folder, values, say)))


if __name__ == "__main__":
    main()
