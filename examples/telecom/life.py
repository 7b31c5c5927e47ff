"""What happens to customers within one month. Every function draws for all customers, active or not, so that the
draws of one customer never depend on the fate of another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from examples.telecom.company import (
    BY_HAND,
    CONTRACT_MONTHS,
    LAST_MONTH,
    LIST_PRICE,
    MONTH_TO_MONTH,
    PLANS,
)
from examples.telecom.hazard import Behaviour
from examples.telecom.people import People, Subscription

PRICE_RISE, PRICE_RISE_SHIFTED = 0.035, 0.07  # a month, where no contract holds the price
SEASON_OF_USAGE = np.array([1.06, 1.02, 1.0, 0.98, 0.96, 0.93, 0.90, 0.92, 0.98, 1.02, 1.05, 1.10])


@dataclass(frozen=True)
class Diary:
    """What customers did, month by month: arrays of shape (customers, LAST_MONTH + 1), column m for month m.

    Written once a month, in that month's column; everything in a later column is still empty.
    """

    usage: np.ndarray  # gigabytes; NaN where there was none
    dropped_calls: np.ndarray  # NaN likewise
    ticket: np.ndarray  # bool, one opened
    resolved: np.ndarray  # month in which the ticket opened in this month is resolved
    failed: np.ndarray  # bool, payment of this month's invoice; known in the next month
    stressed: np.ndarray  # bool, short of money
    fading: np.ndarray  # share of their usual usage that customers still have

    @classmethod
    def empty(cls, n: int) -> Diary:
        shape = (n, LAST_MONTH + 1)
        no, unknown = (lambda: np.zeros(shape, dtype=bool)), (lambda: np.full(shape, np.nan))
        return cls(unknown(), unknown(), no(), np.zeros(shape, dtype=int), no(), no(), np.ones(shape))

    def lately(self, month: int) -> Behaviour:
        """What is known at the end of `month` about the three months up to it."""
        recent = slice(max(month - 2, 0), month + 1)
        before = slice(max(month - 3, 0), month)
        opened = self.ticket[:, : month + 1]
        return Behaviour(
            usage=_mean(self.usage[:, recent]),
            trend=self.usage[:, month] / _mean(self.usage[:, before]),
            dropped_calls=_mean(self.dropped_calls[:, recent]),
            tickets_open=(opened & (self.resolved[:, : month + 1] > month)).sum(axis=1),
            tickets=self.ticket[:, recent].sum(axis=1),
            failures=self.failed[:, before].sum(axis=1),
        )


def change_subscriptions(
    rng: np.random.Generator, month: int, now: Subscription, shifted: bool
) -> tuple[Subscription, np.ndarray]:
    """The subscriptions of this month, and a mask of those that changed: a contract that ended and was renewed or not,
    another plan, a price rise or a discount."""
    n = len(now.plan)
    uniform, renews, step = rng.random(n), rng.random(n) < 0.55, rng.random(n)
    other_plan = np.clip(now.plan + np.where(rng.random(n) < 0.6, 1, -1), 0, len(PLANS) - 1)

    free = now.contract == MONTH_TO_MONTH
    expired = ~free & (now.ends == month - 1)
    moves = ~expired & (uniform < 0.015) & (other_plan != now.plan)
    rise = ~expired & ~moves & free & (uniform > 1 - (PRICE_RISE_SHIFTED if shifted else PRICE_RISE))
    cut = ~expired & ~moves & ~rise & (uniform > 0.5) & (uniform < 0.51)

    contract = np.where(expired & ~renews, MONTH_TO_MONTH, now.contract)
    plan = np.where(moves, other_plan, now.plan)
    listed = LIST_PRICE[plan] * (1 - now.discount / 100)
    charge = np.select(
        [expired & renews, expired, moves, rise, cut],
        [now.charge * (1 + 0.10 * step), now.charge * (1.04 + 0.14 * step), listed,
         now.charge * (1.05 + 0.20 * step), now.charge * (0.90 - 0.10 * step)],
        now.charge,
    ).round(2)  # fmt: skip
    changed = expired | moves | rise | cut
    return replace(
        now,
        plan=plan,
        contract=contract,
        ends=np.where(expired, np.where(renews, month - 1 + CONTRACT_MONTHS[now.contract], 0), now.ends),
        charge=charge,
        discount=np.where(cut, np.minimum(now.discount + 10, 30), now.discount),
        changed=np.where(changed, month, now.changed),
        price_change=np.where(changed, charge / now.charge - 1, now.price_change),
    ), changed


def use(rng: np.random.Generator, month: int, people: People, diary: Diary) -> None:
    """Writes usage and dropped calls. One in forty starts to fade each month; most come back slowly."""
    n = len(people.usage)
    before = diary.fading[:, month - 1]
    fades = (rng.random(n) < 0.025) | ((before < 1) & (before > 0.3) & (rng.random(n) < 0.75))
    share = np.where(fades, before * 0.6, np.minimum(before**0.6 + 0.01, 1.0))
    diary.fading[:, month] = np.where(share > 0.97, 1.0, share)
    chance = np.exp(rng.normal(0, 0.12, n))
    diary.usage[:, month] = people.usage * diary.fading[:, month] * SEASON_OF_USAGE[(month - 1) % 12] * chance
    diary.dropped_calls[:, month] = rng.poisson(people.dropped_calls)


def ask_support(rng: np.random.Generator, month: int, now: Subscription, diary: Diary, neglect: np.ndarray) -> None:
    """Writes whether a ticket is opened, and when it is resolved: at once, or in one of the months to come;
    for the neglected, two months later than for others."""
    n = len(now.plan)
    rate = 0.05 + 0.02 * np.minimum(diary.dropped_calls[:, month], 6) + 0.10 * (now.changed == month)
    diary.ticket[:, month] = rng.random(n) < rate
    diary.resolved[:, month] = month + rng.geometric(0.40, n) - 1 + 2 * neglect


def pay(rng: np.random.Generator, month: int, now: Subscription, diary: Diary) -> None:
    """Writes whether the payment of this month's invoice fails. Being short of money lasts for some months."""
    n = len(now.plan)
    stays, starts = rng.random(n) < 0.75, rng.random(n) < 0.012
    diary.stressed[:, month] = np.where(diary.stressed[:, month - 1], stays, starts)
    rate = np.where(diary.stressed[:, month], 0.6, np.where(now.payment >= BY_HAND, 0.05, 0.015))
    diary.failed[:, month] = rng.random(n) < rate


def forget_inactive(diary: Diary, month: int, active: np.ndarray) -> None:
    """Blanks what was drawn for customers who are not there."""
    diary.usage[~active, month] = np.nan
    diary.dropped_calls[~active, month] = np.nan
    diary.ticket[~active, month] = False
    diary.failed[~active, month] = False


def _mean(window: np.ndarray) -> np.ndarray:
    """Row means of what is known; NaN where nothing is."""
    known = ~np.isnan(window)
    total = np.where(known, window, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
