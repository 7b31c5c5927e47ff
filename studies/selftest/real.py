"""Real tables as they lie in their files, without dates: what the gate on leaks says of them, and of faults put into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pipelines import features
from pipelines.config.params import LeakageParams, Params
from pipelines.data import split
from pipelines.validation import leakage
from pipelines.validation.checks import Check

ENTITY, TARGET = "row", "label"
COPIED = (0.05, 0.1, 0.3, 1.0)  # of the rows, loaded twice
MISSING = ["", "?", "NA", "NULL"]


@dataclass(frozen=True)
class Table:
    """A file below the folder of the real tables; `gone`: ids and what is known only after the outcome."""

    file: str
    target: str
    positive: str
    gone: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return Path(self.file).name.split(".")[0]


TABLES = (
    Table("adult/adult.csv.gz", "income", ">50K"),
    Table("coil2000/coil2000.csv.gz", "CARAVAN", "1"),
    Table("elec2/elec.csv.gz", "class", "1"),
    Table("telco_churn/Telco-Customer-Churn.csv", "Churn", "Yes", ("customerID",)),
    Table("../cases/areas.csv", "bought", "1", ("customer_id",)),
    Table(
        "hotel_bookings/hotel_bookings.csv.gz", "is_canceled", "1",
        ("reservation_status", "reservation_status_date", "assigned_room_type", "booking_changes"),
    ),
)  # fmt: skip
CLUSTERED = {"hotel_bookings"}  # the rooms of one booking are rows of their own: they are no honest rows for this gate


def read(file: Path, table: Table) -> pa.Table:
    """Its rows, each an entity of its own, with a label of 0 and 1."""
    options = pyarrow.csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True)
    rows = pyarrow.csv.read_csv(file, convert_options=options)
    label = pc.equal(rows[table.target].cast("string"), table.positive).cast("int8")
    rows = rows.drop_columns([table.target, *table.gone])
    return rows.append_column(ENTITY, pa.array(np.arange(rows.num_rows))).append_column(TARGET, label)


def figures(params: Params, data: Path, say: Callable[[str], None]) -> Iterator[tuple[str, str, list[Check]]]:
    """Table, what was put into it ("" for nothing), and the checks that are red, with `copies` and `together` always."""
    for table in TABLES:
        if not (data / table.file).exists():
            continue
        rows = read(data / table.file, table)
        say(f"{table.name}: {rows.num_rows:,} rows as they are")
        for fault, changed in {"": rows, **_faults(rows)}.items():
            checks = judge(changed, params)
            yield table.name, fault, [check for check in checks if not check.success or check.type in ("copies", "together")]


def judge(rows: pa.Table, params: Params) -> list[Check]:
    data = params.data.model_copy(update={"entity": ENTITY, "time": None, "target": TARGET, "protected": [], "personal": []})
    held = params.split.model_copy(update={"newest_snapshots": 0})
    sees = params.features.model_copy(update={"exclude": []})
    own = params.model_copy(update={"data": data, "split": held, "features": sees, "leakage": LeakageParams()})
    train, test = split.split(rows, data, held)
    return leakage.judge(leakage.Sides(train, test, features.learn_schema(train, data, sees), data), own)


def _faults(rows: pa.Table) -> dict[str, pa.Table]:
    return {f"{share:.0%} of the rows loaded twice": _twice(rows, share) for share in COPIED} | {
        "a score of ROC-AUC 0.945 alone": rows.append_column("score", pa.array(_score(rows, 0.945))),
        "three columns filled in after the outcome": _filled_later(rows, 3),
        "five columns filled in after the outcome": _filled_later(rows, 5),
    }


def _twice(rows: pa.Table, share: float) -> pa.Table:
    """Some rows once more, under keys of their own."""
    size = rows.num_rows
    drawn = np.random.default_rng(0).choice(size, int(share * size), replace=False)
    keys = pa.array(np.arange(size, size + len(drawn)))
    again = rows.take(pa.array(np.sort(drawn)))
    return pa.concat_tables([rows, again.set_column(rows.column_names.index(ENTITY), ENTITY, keys)])


def _score(rows: pa.Table, auc: float) -> np.ndarray:
    labels = rows[TARGET].to_numpy()
    return labels * NormalDist().inv_cdf(auc) * 2**0.5 + np.random.default_rng(1).normal(size=len(labels))


def _filled_later(rows: pa.Table, columns: int) -> pa.Table:
    """Columns that three of four positives have, each others of them, and one of fifty others."""
    random, labels = np.random.default_rng(2), rows[TARGET].to_numpy()
    for number in range(columns):
        absent = random.random(len(labels)) >= np.where(labels == 1, 0.75, 0.02)
        rows = rows.append_column(f"after_{number}", pa.array(random.gamma(2, 50, len(labels)), mask=absent))
    return rows
