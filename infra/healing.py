"""Whether retraining heals: `python -m infra.healing --folder FOLDER`; kept in docs/healing.md.

Each seed is two companies of the demo's simulator: one in which a competitor changes who leaves from month 15 on, and one
in which nothing happens. Both are retrained by the stages' own functions, as of the months around the moment at which
the first changed snapshot has mature labels, and judged by the gate. How good a champion is, is measured on the months that
follow, against the true probabilities.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra import postgres_server
from infra.demo import company, load, worlds
from pipelines import ensemble, evaluate, gate, metrics, params, postgres, recency, split, stage, train
from pipelines.gate import Bundle
from pipelines.params import Params

CHANGED = 15  # the month whose leavers are the first ones of the new world
RETRAINED = (14, 17, 18)  # ends of months: the last before the change; the first snapshots of it have matured; a window later
NEW = (18, 19, 20, 21)  # ends of months whose snapshots show how good a champion is
WORLDS = {"changed": frozenset({"concept_shift"}), "quiet": frozenset[str]()}
CLOSE = 0.02  # ROC-AUC below the true probabilities'
DATA = "data/training.parquet"


def settings(candidates: dict[str, str], trials: int) -> dict[str, Any]:
    """The project's params.yaml, with fewer candidates, trials and resamples."""
    from ruamel.yaml import YAML

    values = YAML(typ="safe").load(Path(params.__file__).parents[1] / "params.yaml")
    values["data"] |= {"as_of": None, "fingerprint": None, "protected": []}
    values["candidates"]["enabled"] = candidates
    values["tune"]["trials"] = trials
    values["train"] |= {"threads": 1, "explain_rows": 10}
    values["evaluate"]["bootstrap"] = 400
    return values


def retrain(rows: pa.Table, month: int, values: dict[str, Any], folder: Path) -> tuple[Bundle, pa.Table, dict[str, Any]]:
    """A version made of these rows by the stages; the rows with their folds; and what was chosen."""
    from ruamel.yaml import YAML

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        YAML().dump(values, Path("params.yaml"))
        pq.write_table(rows, "data/rows.parquet")
        stage.write_json(Path("data/validation.json"), {"success": True})
        data, schema, past = Path(DATA), Path("data/schema.json"), Path("data/recency.json")
        split.main(rows=Path("data/rows.parquet"), verdict=Path("data/validation.json"), training=data, schema=schema)
        recency.main(training=data, schema=schema, recency=past)
        config, models = params.read(), Path("models")
        for name in config.enabled:
            train.main(candidate=name, training=data, schema=schema, past=past, model=models / name)
        ensemble.main(training=data, schema=schema, models=models, ensemble=Path("ensemble"))
        table, half_life = pq.read_table(data), json.loads(past.read_text())["overall"]
        chosen = package(table, month, half_life, config)
    return Bundle(folder / "bundle"), table, chosen | {"half_life_days": half_life}


def package(table: pa.Table, month: int, half_life: float | None, config: Params) -> dict[str, Any]:
    """Choose the challenger and write what the gate reads of a bundle, in the current folder."""
    folders = evaluate.trained(Path("models"), Path("ensemble"), config.enabled)
    judged, _ = evaluate.read_judged(table, folders, config)
    sizes = {name: (folder / "model.onnx").stat().st_size for name, folder in folders.items()}
    chosen = evaluate.choose(judged, sizes, config.evaluate)
    name, bundle = chosen["challenger"], Path("bundle")
    threshold = evaluate.threshold_by_cost(judged[name].labels, judged[name].scores, config.evaluate)
    bundle.mkdir()
    shutil.copyfile(folders[name] / "model.onnx", bundle / "model.onnx")
    shutil.copyfile("data/schema.json", bundle / "schema.json")
    stage.write_json(bundle / "decision.json", {"candidate": name, "threshold": threshold})
    stage.write_json(bundle / "audit.json", {"verdict": {"attributes": {}, "harmed": [], "unproven": []}})
    data = {"as_of": str(company.month_end(month)), "fingerprint": str(month)}
    manifest = {"data": data, "split": config.split.model_dump(), "half_life_days": half_life}
    stage.write_json(bundle / "manifest.json", manifest)
    return {"challenger": name}


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


def follow(url: str, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One company, retrained month after month: what the gate said, and each champion on the months that follow."""
    from pipelines import scoring

    config = Params.model_validate(values)
    everything = live(url, config, worlds.LAST_MONTH, 2 * 366)
    days = [np.datetime64(company.month_end(month)).item() for month in NEW]
    new = everything.filter(pc.is_in(everything[config.data.time], pa.array(days, everything[config.data.time].type)))
    asked = new.select(["customer_id", "snapshot_date", "churned"]).rename_columns(["customer_id", "snapshot_date", "label"])
    champion, said = None, []
    for month in RETRAINED:
        rows = live(url, config, month, config.data.history_days)
        challenger, table, chosen = retrain(rows, month, values, folder / str(month))
        if champion is None:
            verdict, finding = None, "first"
        else:
            verdict = gate.judge(challenger, champion, table, {}, config)
            finding = verdict.finding
        if verdict is None or verdict.outcome == "promoted":
            champion = challenger
        scores = scoring.load(champion.folder).score(new)
        auc = float(metrics.roc_auc(new["churned"].to_numpy(), scores, np.ones((1, new.num_rows)))[0])
        said.append({"month": month, "finding": finding, "auc": auc, **chosen})
    return {"oracle": load.oracle_auc(url, rows=asked), "retrained": said}


def page(results: list[dict[str, Any]]) -> str:
    """The tables as Markdown."""
    last = RETRAINED[-1]
    lines = [
        f"| seed | oracle | {' | '.join(f'champion after month {month}' for month in RETRAINED)} | half-lives | findings |"
    ]
    lines += ["|---" * (len(RETRAINED) + 4) + "|"]
    for one in results:
        found = one["changed"]["retrained"]
        cells = [str(one["seed"]), f"{one['changed']['oracle']:.4f}", *(f"{step['auc']:.4f}" for step in found)]
        cells += [", ".join(str(step["half_life_days"]) for step in found), ", ".join(step["finding"] for step in found[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    gaps = [one["changed"]["oracle"] - one["changed"]["retrained"][-1]["auc"] for one in results]
    healed = sum(gap <= CLOSE for gap in gaps)
    again = [step for one in results for step in one["quiet"]["retrained"][1:]]
    promoted = sum(step["finding"] == "better" for step in again)
    weighed = sum(step["half_life_days"] is not None for step in again)
    return "\n".join(
        [
            *lines,
            "",
            f"Within {CLOSE} of the oracle after month {last}: {healed} of {len(results)} companies, "
            f"{np.mean(gaps):.4f} below it in the mean.",
            f"Quiet companies: {promoted} of {len(again)} retrainings were promoted; {weighed} chose a half-life.",
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
                    for world, shifts in WORLDS.items():
                        begins = company.SHIFT_BEGINS | {"concept_shift": CHANGED}
                        load.load_demo(url, customers=customers, seed=seed, shifts=shifts, begins=begins, say=lambda _: None)
                        found[world] = follow(url, values, Path(scratch) / world)
                    kept.write_text(json.dumps(found), encoding="utf-8")
                    say(f"seed {seed}: {json.dumps(found)}")
                results.append(json.loads(kept.read_text(encoding="utf-8")))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(1, 20), help="the first and the last one")
    parser.add_argument("--customers", type=int, default=12_000)
    parser.add_argument("--trials", type=int, default=0, help="of tuning, a candidate")
    parser.add_argument("--folder", type=Path, required=True, help="where results are kept, to go on from")
    options = parser.parse_args()

    def say(line: str) -> None:
        print(line, flush=True)

    values = settings({"linear": "cpu", "lightgbm": "cpu"}, options.trials)
    print(page(run(range(options.seeds[0], options.seeds[1] + 1), options.customers, options.folder, values, say)))


if __name__ == "__main__":
    main()
