"""What the company writes down about a month, and when it comes to know it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from examples.telecom import company
from examples.telecom.company import BROKEN_FEED_ENDS, BROKEN_FEED_FOUND, SHIFT_BEGINS, Options, days, first_day, month_end
from examples.telecom.life import Diary
from examples.telecom.people import People, Subscription

TOPICS = ("billing", "contract", "other", "technical")
REASONS = ("moved", "other", "price", "service")


@dataclass(frozen=True)
class Moment:
    """One month of one chunk; masks and probabilities have one value a customer."""

    month: int
    people: People
    now: Subscription
    diary: Diary
    active: np.ndarray
    arrives: np.ndarray
    changed: np.ndarray
    leaves: np.ndarray  # in the month to come
    neglect: np.ndarray
    probability: np.ndarray

    @property
    def id(self) -> np.ndarray:
        """At most one row of a kind a customer and month."""
        return self.people.customer_id * 100 + self.month


def write(rng: np.random.Generator, moment: Moment, options: Options) -> dict[str, pa.Table]:
    """The rows that a month adds to each table."""
    return {
        "customers": _customers(rng, moment),
        "subscriptions": _subscriptions(rng, moment),
        "invoices": _invoices(rng, moment),
        "monthly_usage": _usage(rng, moment, options),
        "support_tickets": _tickets(rng, moment),
        **_departures(rng, moment),
    }


def _customers(rng: np.random.Generator, moment: Moment) -> pa.Table:
    people, n = moment.people, len(moment.active)
    birth_date = company.HISTORY_BEGINS - (people.age * 365.25).astype(int)
    before = np.maximum(1 - people.joined, 0)  # months
    opening = before * moment.now.charge * rng.uniform(0.8, 1.0, n)
    return _rows(
        moment.arrives,
        customer_id=people.customer_id,
        joined_on=people.joined_on,
        birth_date=pa.array(birth_date, mask=rng.random(n) < 0.06),
        gender=_text(company.GENDERS, people.gender, missing=rng.random(n) < 0.02),
        region=_text(company.REGIONS, people.region),
        channel=_text(company.CHANNELS, people.channel, missing=rng.random(n) < 0.03),
        opening_charges=opening.round(2),
        opening_tickets=rng.poisson(0.07 * before),
        recorded_at=_known_on(people.joined_on + days(rng.integers(0, 3, n))),
    )


def _subscriptions(rng: np.random.Generator, moment: Moment) -> pa.Table:
    now, n = moment.now, len(moment.active)
    on = np.where(moment.arrives, moment.people.joined_on, first_day(moment.month) + days(rng.integers(0, 24, n)))
    return _rows(
        moment.arrives | moment.changed,
        subscription_id=moment.id,
        customer_id=moment.people.customer_id,
        plan=_text(company.PLANS, now.plan),
        contract_type=_text(company.CONTRACTS, now.contract),
        contract_ends_on=pa.array(month_end(now.ends), mask=now.ends == 0),
        monthly_charge=now.charge,
        discount_pct=now.discount,
        allowance_gb=company.ALLOWANCE[now.plan].astype(int),
        payment_method=_text(company.PAYMENT_METHODS, now.payment, missing=rng.random(n) < 0.04),
        valid_from=on,
        recorded_at=_known_on(on + days(rng.integers(0, 3, n))),
    )


def _invoices(rng: np.random.Generator, moment: Moment) -> pa.Table:
    """One a month, known when its payment was tried: on the 4th to 7th of the month after."""
    n = len(moment.active)
    over = np.maximum(moment.diary.usage[:, moment.month] / company.ALLOWANCE[moment.now.plan] - 1, 0)
    return _rows(
        moment.active,
        invoice_id=moment.id,
        customer_id=moment.people.customer_id,
        period=np.full(n, first_day(moment.month)),
        amount=(moment.now.charge + 2 * np.minimum(np.nan_to_num(over), 5)).round(2),
        payment_failed=moment.diary.failed[:, moment.month],
        recorded_at=first_day(moment.month + 1) + days(rng.integers(3, 7, n)),
    )


def _usage(rng: np.random.Generator, moment: Moment, options: Options) -> pa.Table:
    """Known on the month's last day; some readings come later and some never."""
    n, month = len(moment.active), moment.month
    megabytes = options.shifted("broken_feed", month) and month <= BROKEN_FEED_ENDS
    late = np.where(rng.random(n) < 0.02, rng.integers(2, 6, n), 0)
    return _rows(
        moment.active & (rng.random(n) >= 0.03),
        customer_id=moment.people.customer_id,
        month=np.full(n, first_day(month)),
        gigabytes=np.nan_to_num(moment.diary.usage[:, month] * (1000 if megabytes else 1)).round(3),
        call_minutes=pa.array(rng.gamma(2.0, 90.0, n).astype(int), mask=rng.random(n) < 0.02),
        dropped_calls=np.nan_to_num(moment.diary.dropped_calls[:, month]).astype(int),
        recorded_at=month_end(month) + days(late),
    )


def _tickets(rng: np.random.Generator, moment: Moment) -> pa.Table:
    """One row when a ticket is opened and one when it is resolved. Those of the neglected are logged weeks late."""
    n, month = len(moment.active), moment.month
    opened_on = first_day(month) + days(rng.integers(0, 18, n))
    resolved_in = moment.diary.resolved[:, month]
    at_once = opened_on + days(rng.integers(1, 7, n))
    resolved_on = np.where(resolved_in == month, at_once, first_day(resolved_in) + days(rng.integers(0, 24, n)))
    delay = np.where(moment.neglect, rng.integers(35, 70, n), rng.integers(0, 2, n))
    opened_known = opened_on + days(delay)
    resolved_known = np.maximum(resolved_on + days(rng.integers(0, 2, n)), opened_known)
    topic = _text(TOPICS, rng.integers(0, len(TOPICS), n), missing=rng.random(n) < 0.05)

    def events(status: str, on: np.ndarray, known: np.ndarray) -> pa.Table:
        return _rows(
            moment.diary.ticket[:, month],
            ticket_id=moment.id,
            customer_id=moment.people.customer_id,
            topic=topic,
            status=pa.array([status] * n),
            happened_on=on,
            recorded_at=known,
        )

    return pa.concat_tables([events("opened", opened_on, opened_known), events("resolved", resolved_on, resolved_known)])


def _departures(rng: np.random.Generator, moment: Moment) -> dict[str, pa.Table]:
    """Who leaves in the month to come, and the probabilities that decided it.

    Days 3 to 28: within 30 days of any month's end, and of no other's (from 31 January they reach 2 March).
    A scoring run still sees those who left but are not known to have: their probability of leaving later is 0.
    """
    n, month = len(moment.active), moment.month
    left_on = first_day(month + 1) + days(rng.integers(2, 28, n))
    known_on = left_on + days(rng.integers(1, 11, n))
    terminations = _rows(
        moment.leaves,
        customer_id=moment.people.customer_id,
        terminated_on=left_on,
        reason=_text(REASONS, rng.integers(0, len(REASONS), n), missing=rng.random(n) < 0.4),
        recorded_at=known_on,
    )

    def oracle(mask: np.ndarray, snapshot: np.ndarray, probability: np.ndarray) -> pa.Table:
        return _rows(
            mask,
            customer_id=moment.people.customer_id,
            snapshot_date=np.full(n, snapshot),
            probability=probability,
        )

    unnoticed = moment.leaves & (known_on > month_end(month + 1))
    probabilities = [
        oracle(moment.active, month_end(month), moment.probability),
        oracle(unnoticed, month_end(month + 1), np.zeros(n)),
    ]
    return {"terminations": terminations, "churn_probability": pa.concat_tables(probabilities)}


def feed_incidents(options: Options) -> pa.Table:
    """What people have declared about the feeds by the end of the last month: one row, or none."""
    declared = pa.table(
        {
            "feed": ["monthly_usage"],
            "first_month": [first_day(SHIFT_BEGINS["broken_feed"]).item()],
            "last_month": [first_day(BROKEN_FEED_ENDS).item()],
            "note": ["gigabytes came in megabytes"],
            "recorded_at": [BROKEN_FEED_FOUND.item()],
        }
    )
    known = "broken_feed" in options.shifts and month_end(options.months) >= BROKEN_FEED_FOUND
    return declared if known else declared.slice(0, 0)


def _known_on(dates: np.ndarray) -> np.ndarray:
    """What is older than the history was copied into it on its first day."""
    return np.maximum(dates, company.HISTORY_BEGINS)


def _text(names: tuple[str, ...], numbers: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    return pa.array(names).take(pa.array(numbers.astype(np.int32), mask=missing))


def _rows(mask: np.ndarray, **columns: np.ndarray | pa.Array) -> pa.Table:
    return pa.table(columns).filter(pa.array(mask))
