"""False alarms and power of the watching, where the truth is known: `python -m studies.power`; kept in docs/studies/power.md.

Each seed is a company of the demo's simulator with nothing planted, loaded into a Postgres of its own and read by the real
query; then the same with shifts planted from month 15 on. Nothing here was looked at while tuning: that was done on
seeds from 1001 on.
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
import pyarrow.parquet as pq

from examples.telecom import worlds
from infra.stack import postgres_server
from monitoring import judge
from pipelines.config import params as parameters
from pipelines.config.params import Params
from studies import injected_shifts as shifts
from studies import replay

PLANTED, WATCHED = 15, 18  # first month of a planted shift, and the last one that is watched
SOON = 2  # windows
LABELLED = 22  # the last month whose labels mature
SHIFTED_SEEDS = 3000  # seeds of the shifted companies begin after it: other companies than the quiet ones
ALARMS = frozenset({"data_incident", "loss", "drift", "estimated_loss", "bias"})
COVERED = ("roc_auc", "pr_auc", "log_loss", "brier", "accuracy")


def measure(world: pa.Table, shifted: pa.Table, seed: int, params: Params, say: Callable[[str], None]) -> dict[str, Any]:
    """What one seed adds to the tables; JSON.

    Args:
        world: of examples.telecom.worlds, with nothing planted. shifted: the same with the simulator's covariate_shift.
    """
    version, months = replay.train(world, params), by_month(world)
    blocks = [version.count(rows) for rows in months[: replay.LAST]]
    baseline = replay.watch(version, months, blocks)
    found = {
        "seed": seed,
        "quiet": [
            {"month": one.month, "kinds": sorted({found.kind for found in one.found}), "action": one.decision.action}
            for one in baseline
        ],
        "coverage": coverage(shifted, params),
        "power": [],
        "faults": {fault.name: quarantined(version, fault, months, blocks, seed) for fault in shifts.FAULTS},
    }
    for kind in shifts.KINDS:
        for size in kind.sizes:
            delay = find(version, kind, size, months, blocks, seed)
            found["power"].append({"kind": kind.name, "size": size, "delay": delay})
    alarms = sum(not ALARMS.isdisjoint(one["kinds"]) for one in found["quiet"])
    say(f"seed {seed}: {alarms} alarms in {len(baseline)} quiet windows")
    return found


def find(
    version: replay.Version, kind: shifts.Kind, size: float, months: list[pa.Table], blocks: list[Any], seed: int
) -> int | None:
    """Windows from the first shifted one to the first alarm, 1 for the first itself; None where there is none.

    Concept and prior shift are found by mature labels: windows count from the first shifted one whose labels are mature.
    """
    random = np.random.default_rng([seed, PLANTED])
    moved = [kind.plant(rows, size, random) for rows in months[PLANTED - 1 : WATCHED]]
    if kind.name == "concept":
        before: list[pa.Table] = []  # the month before, where it gave a suspicion
        for delay, rows in enumerate(moved, start=1):
            kinds = {one.kind for one in replay.mature_loss(version, rows, before=bool(before))}
            if before and "loss" not in kinds:
                kinds = {one.kind for one in replay.mature_loss(version, pa.concat_tables([*before, rows]), before=True)}
            if "loss" in kinds:
                return delay
            before = [rows] if "warning" in kinds else []
        return None
    counted = [*blocks[: PLANTED - 1], *(version.count(rows) for rows in moved)]
    said = replay.watch(version, months, counted, effects=False)
    hits = [
        one.month - PLANTED + 1 for one in said if one.month >= PLANTED and (one.alarm or one.decision.action == "quarantine")
    ]
    if kind.name == "prior":
        hits += find_target(version, months, moved)
    return min(hits, default=None)


def quarantined(
    version: replay.Version, fault: shifts.Fault, months: list[pa.Table], blocks: list[Any], seed: int
) -> list[list[str]]:
    """(column, form) of what quarantines the month that a fault is planted into."""
    rows = fault.plant(months[PLANTED - 1], np.random.default_rng([seed, PLANTED]))
    before = [judge.Block(block) for block in blocks[: PLANTED - 1]]
    seen = judge.assess(before, version.count(rows), version.reference, version.params.monitor)
    return [[finding.about, finding.evidence["form"]] for finding in seen.findings if finding.kind == "data_incident"]


def find_target(version: replay.Version, months: list[pa.Table], moved: list[pa.Table]) -> list[int]:
    """Windows, counted like those of a concept shift, whose share of positives raises an alarm."""
    shares, over, hits = [replay.positives(rows) for rows in months[: replay.KNOWN_TO]], [], []
    for number, rows in enumerate(moved, start=1):
        found = judge.shares(shares, replay.positives(rows), over, version.params.monitor)
        over.append(any(one.kind in judge.OVER for one in found))
        hits += [number] * any(one.kind == "drift" for one in found)
    return hits


def coverage(world: pa.Table, params: Params) -> list[dict[str, Any]]:
    """Month and metric: whether the interval of the estimate covered the figure that the labels then gave."""
    from monitoring import estimate

    version, found = replay.train(world, params), []
    for month, rows in list(enumerate(by_month(world), start=1))[replay.FIRST : LABELLED]:  # shifted from month 14 on
        learnt = version.reference.calibration
        expected = estimate.expect(learnt, learnt.count(version.score(rows)), version.params.evaluate)
        known = rows.filter(pc.is_valid(rows["churned"]))
        counts = learnt.count(version.score(known))
        labels = estimate.count_positives(learnt, version.score(known), known["churned"].to_numpy())
        real = {name: float(one[0]) for name, one in estimate.measure(learnt, counts, labels[None]).items()}
        held = {name: bool(expected[name].low <= real[name] <= expected[name].high) for name in COVERED}
        found.append({"month": month, "covered": held, "error": real["roc_auc"] - expected["roc_auc"].point})
    return found


def by_month(world: pa.Table) -> list[pa.Table]:
    return [world.filter(pc.equal(world["month"], month)) for month in range(1, worlds.LAST_MONTH + 1)]


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Of a probability, one-sided (Clopper & Pearson 1934)."""
    from scipy import stats

    return 1.0 if hits == trials else float(stats.beta.ppf(confidence, hits + 1, trials - hits))


def page(results: list[dict[str, Any]]) -> str:
    """The tables as Markdown."""
    windows = [window for result in results for window in result["quiet"]]
    seeds, trials = len(results), len(windows)
    lines = [f"{seeds} seeds, {trials} quiet windows (months {replay.FIRST} to {replay.LAST}):", ""]
    lines += ["| | windows | share | 95% upper bound |", "|---|---|---|---|"]
    told = {
        "over a threshold": [not (ALARMS | {"warning"}).isdisjoint(one["kinds"]) for one in windows],
        "**alarm**": [not ALARMS.isdisjoint(one["kinds"]) for one in windows],
        "of these drift (two in a row)": ["drift" in one["kinds"] for one in windows],
        "action above nothing": [one["action"] != "none" for one in windows],
        "action retrain": [one["action"] == "retrain" for one in windows],
    }
    for name, flags in told.items():
        lines.append(f"| {name} | {sum(flags)} | {sum(flags) / trials:.1%} | {upper_bound(sum(flags), trials):.1%} |")
    lines += [
        "",
        f"| shift from month {PLANTED} on | found within {SOON} windows | within {WATCHED - PLANTED + 1} | median delay |",
        "|---|---|---|---|",
    ]
    for kind in shifts.KINDS:
        for size in kind.sizes:
            delays = [
                cell["delay"]
                for result in results
                for cell in result["power"]
                if (cell["kind"], cell["size"]) == (kind.name, size)
            ]
            lines.append(_power_row(f"{kind.name}: {kind.what.format(size)}", delays))
    lines += ["", "| fault of the feed | quarantined in its first window, by its form |", "|---|---|"]
    lines += [_fault_row(fault, [result["faults"][fault.name] for result in results]) for fault in shifts.FAULTS if fault.form]
    lines += ["", "| no fault of the feed | quarantined |", "|---|---|"]
    lines += [
        _fault_row(fault, [result["faults"][fault.name] for result in results]) for fault in shifts.FAULTS if not fault.form
    ]
    cells = [cell for result in results for cell in result["coverage"]]
    lines += ["", f"Nominal 95% intervals of the estimate, under covariate shift, {len(cells)} windows:", ""]
    lines += ["| metric | covered the figure |", "|---|---|"]
    lines += [f"| {name} | {np.mean([cell['covered'][name] for cell in cells]):.1%} |" for name in COVERED]
    return "\n".join(lines) + "\n"


def _power_row(name: str, delays: list[int | None]) -> str:
    found = [delay for delay in delays if delay is not None]
    soon = np.mean([delay is not None and delay <= SOON for delay in delays])
    median = f"{np.median(found):g}" if found else "-"
    return f"| {name} | {soon:.0%} | {len(found) / len(delays):.0%} | {median} |"


def _fault_row(fault: shifts.Fault, found: list[list[list[str]]]) -> str:
    share = np.mean([[fault.about, fault.form] in one if fault.form else bool(one) for one in found])
    return f"| {fault.name} | {share:.0%} |"


def run(seeds: Iterable[int], customers: int, folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One result a seed, kept in `folder`: run again, it goes on where it stopped."""
    params, results = parameters.read(), []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with postgres_server.running(Path(scratch) / "data", port, "only-for-power") as url:
            for seed in seeds:
                kept = folder / f"{seed}.json"
                if not kept.exists():
                    baseline = _world(url, params, customers, seed, worlds.NOTHING, folder)
                    shifted = _world(url, params, customers, seed + SHIFTED_SEEDS, frozenset({"covariate_shift"}), folder)
                    kept.write_text(json.dumps(measure(baseline, shifted, seed, params, say)), encoding="utf-8")
                results.append(json.loads(kept.read_text(encoding="utf-8")))
    return results


def _world(url: str, params: Params, customers: int, seed: int, shifts: frozenset[str], folder: Path) -> pa.Table:
    kept = folder / f"{'covariate' if shifts else 'quiet'}_{seed}.parquet"
    if not kept.exists():
        rows = worlds.months(url, params.data, customers=customers, seed=seed, shifts=shifts)
        pq.write_table(rows, kept, compression="zstd")
    return pq.read_table(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="seeds 1 to this one")
    parser.add_argument("--customers", type=int, default=12_000)
    parser.add_argument("--folder", type=Path, required=True, help="where worlds and results are kept, to go on from")
    options = parser.parse_args()

    def say(line: str) -> None:
        print(line, flush=True)

    print(page(run(range(1, options.seeds + 1), options.customers, options.folder, say)))


if __name__ == "__main__":
    main()
