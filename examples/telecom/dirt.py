"""The dirt that every real table has. sql/churn/training_set.sql cleans all of it but the mistyped charges."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DAY = np.timedelta64(1, "D")
BORN_IN_1900 = 0.002
MISSPELT, MISTYPED = 0.015, 0.0003
SENT_TWICE, NEGATIVE = 0.003, 0.0005
BEFORE_JOINING = 0.003


def add(rng: np.random.Generator, rows: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The rows of one month, with some of them dirty."""
    return rows | {
        "customers": _placeholder_births(rng, rows["customers"]),
        "subscriptions": _misspelt_contracts(rng, _mistyped_charges(rng, rows["subscriptions"])),
        "invoices": _invoices_sent_twice(rng, _negative_amounts(rng, rows["invoices"])),
        "support_tickets": pa.concat_tables([rows["support_tickets"], _misdated_tickets(rng, rows)]),
    }


def _placeholder_births(rng: np.random.Generator, customers: pa.Table) -> pa.Table:
    hit = rng.random(len(customers)) < BORN_IN_1900
    placeholder = pa.scalar(np.datetime64("1900-01-01").item(), pa.date32())
    return _replaced(customers, "birth_date", hit, placeholder)


def _misspelt_contracts(rng: np.random.Generator, subscriptions: pa.Table) -> pa.Table:
    """Another case, and a space behind: "Month-To-Month "."""
    spelt = pc.binary_join_element_wise(pc.utf8_title(subscriptions["contract_type"]), "", " ")
    return _replaced(subscriptions, "contract_type", rng.random(len(subscriptions)) < MISSPELT, spelt)


def _mistyped_charges(rng: np.random.Generator, subscriptions: pa.Table) -> pa.Table:
    """A lost decimal point."""
    tenfold = pc.multiply(subscriptions["monthly_charge"], 10.0)
    return _replaced(subscriptions, "monthly_charge", rng.random(len(subscriptions)) < MISTYPED, tenfold)


def _negative_amounts(rng: np.random.Generator, invoices: pa.Table) -> pa.Table:
    return _replaced(invoices, "amount", rng.random(len(invoices)) < NEGATIVE, pc.negate(invoices["amount"]))


def _invoices_sent_twice(rng: np.random.Generator, invoices: pa.Table) -> pa.Table:
    again = invoices.filter(pa.array(rng.random(len(invoices)) < SENT_TWICE))
    later = pa.array(again["recorded_at"].to_numpy() + DAY)
    return pa.concat_tables([invoices, again.set_column(again.column_names.index("recorded_at"), "recorded_at", later)])


def _misdated_tickets(rng: np.random.Generator, rows: dict[str, pa.Table]) -> pa.Table:
    """Tickets of new customers, dated a year before these joined."""
    customers = rows["customers"].filter(pa.array(rng.random(len(rows["customers"])) < BEFORE_JOINING))
    n = len(customers)
    return pa.table(
        {
            "ticket_id": pc.multiply(customers["customer_id"], 100),
            "customer_id": customers["customer_id"],
            "topic": pa.array(["other"] * n, pa.string()),
            "status": pa.array(["opened"] * n, pa.string()),
            "happened_on": pa.array(customers["joined_on"].to_numpy() - 365 * DAY),
            "recorded_at": customers["recorded_at"],
        }
    )


def _replaced(table: pa.Table, column: str, hit: np.ndarray, value: pa.Scalar | pa.ChunkedArray) -> pa.Table:
    values = pc.if_else(pa.array(hit), value, table[column])
    return table.set_column(table.column_names.index(column), column, values)
