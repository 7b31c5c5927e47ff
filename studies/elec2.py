"""A real table whose world changed: elec2, the electricity market that was widened in May 1997.

`python -m studies.elec2 --data ../shared/data/elec2/elec.csv.gz` watches it in windows of a month with a horizon of a day:
which windows are quarantined, which raise an alarm, what mature labels show, and what is retrained for. Three columns are
constant up to the widening and not from then on: that is no broken feed.
Printed as Markdown; kept in docs/studies/electricity.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pipelines.config import params as parameters
from pipelines.config.params import Params
from studies import replay
from studies.replay import Calendar, Version, Window

FIRST_DAY, A_DAY = date(1996, 5, 7), 48  # of row 0, and rows of a day
LEARNT, WATCHED = 8, 10  # months that the first version learns from, and the first month that is watched
MATURE = 1  # months after which a window's labels are known: its last day's come on the next
NEWEST = 12  # months that a retraining learns from


def settings(params: Params) -> Params:
    """The project's own rules, on the rows of this table: a row is an entity, and comes once."""
    names = {"dataset": "elec2", "entity": "row", "time": "day", "target": "class", "protected": [], "personal": []}
    days = {"horizon_days": 1, "embargo_days": 0}
    sections = {
        "data": params.data.model_copy(update=names | days),
        "features": params.features.model_copy(update={"exclude": []}),
        "monitor": params.monitor.model_copy(
            update={"snapshot_policy": "every", "per_unit_columns": {}, "non_stationary_columns": []}
        ),
    }
    return params.model_copy(update=sections)


def months(file: Path) -> list[tuple[str, pa.Table]]:
    """Name and rows of each whole month, the first one from FIRST_DAY on."""
    rows = pyarrow.csv.read_csv(file)
    numbers = np.arange(rows.num_rows)
    days = [FIRST_DAY + timedelta(days=int(number)) for number in numbers // A_DAY]
    names = np.array([f"{day:%Y-%m}" for day in days])
    rows = rows.append_column("row", pa.array(numbers)).append_column("day", pa.array(days, pa.date32()))
    found = list(dict.fromkeys(names))[:-1]  # the last one has not ended
    parts = [rows.filter(pa.array(names == name)) for name in found]
    return [(name, _numbered(part, number)) for number, (name, part) in enumerate(zip(found, parts, strict=True), start=1)]


def watch(tables: Sequence[pa.Table], params: Params) -> list[Window]:
    """What is said of the months, each retraining being promoted."""
    version = replay.fit(tables[:LEARNT], params, trained_in=LEARNT)

    def retrain(month: int) -> Version:
        known = month - MATURE
        return replay.fit(tables[max(known - NEWEST, 0) : known], params, trained_in=month)

    blocks = [version.count(rows) for rows in tables]
    return replay.watch(version, tables, blocks, calendar=Calendar(WATCHED, MATURE, retrain))


def page(names: Sequence[str], tables: Sequence[pa.Table], said: Sequence[Window]) -> str:
    """A row a window: what its own labels show, what was said of it at its end, and the window that a loss is of."""
    lines = ["| window | ROC-AUC on its labels | promised | drift | labels then known show a loss | action |"]
    lines += ["|---|---|---|---|---|---|"]
    for one in said:
        own = replay.measured(one.version, tables[one.month - 1])["roc_auc"]
        promised = one.version.reference.held_out["roc_auc"].point
        lost = [names[int(finding.window.split()[-1]) - 1] for finding in one.found if finding.kind == "loss"]
        drift = "alarm" if one.alarm else "warning" if one.drift.above_limit else ""
        held = " (held)" if one.decision.suppressed else ""
        cells = [names[one.month - 1], str(own), f"{promised:.3f}", drift, ", ".join(lost), f"{one.decision.action}{held}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _numbered(rows: pa.Table, month: int) -> pa.Table:
    return rows.add_column(0, "month", pa.array(np.full(rows.num_rows, month), pa.int32()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="elec.csv.gz, rows in the order of time")
    options = parser.parse_args()
    names, tables = zip(*months(options.data), strict=True)
    said = watch(tables, settings(parameters.read()))
    print(page(names, tables, said))
    retrained = {one.month for one in said if one.decision.action == "retrain" or one.decision.suppressed}
    lost = {one.month for one in said if any(finding.kind == "loss" for finding in one.found)}
    broken = [names[one.month - 1] for one in said if one.decision.action == "quarantine"]
    print(f"Quarantined: {', '.join(broken) or 'no window'}.")
    print(
        f"A retraining was asked for in {len(retrained)} windows; mature labels showed a loss in {len(lost)}, the same: ",
        end="",
    )
    print(f"{'yes' if retrained == lost else 'no'}.")


if __name__ == "__main__":
    main()
