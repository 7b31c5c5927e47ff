"""The true probability that a customer leaves in the month to come: the answer that every model is looking for.

All that it depends on strongly can be read from the company's tables at the month's end. Its effects are steps,
valleys and products, so that a linear model cannot follow all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.telecom.company import ALLOWANCE, BY_HAND, FIBER, MONTH_TO_MONTH
from examples.telecom.people import People, Subscription

SEASON = np.array([0.25, 0.10, 0.0, -0.05, -0.10, -0.15, -0.15, 0.05, 0.20, 0.05, -0.05, -0.10])  # by month to come
FADING = 0.72  # usage of the month over the mean of the three before it


@dataclass(frozen=True)
class Behaviour:
    """What customers did lately; arrays of one value a customer."""

    usage: np.ndarray  # gigabytes a month, mean of three months
    trend: np.ndarray  # usage of the month over the mean of the three before it
    dropped_calls: np.ndarray  # a month, mean of three months
    tickets_open: np.ndarray
    tickets: np.ndarray  # opened in three months
    failures: np.ndarray  # payments that failed, in the three invoices known


def churn_probability(
    month: int, people: People, now: Subscription, lately: Behaviour, competitor: bool, neglect: np.ndarray
) -> np.ndarray:
    """P(leaves in `month + 1`), known at the end of `month`.

    competitor: whether one buys customers out of long contracts (concept_shift).
    neglect: bool, who is neglected by support (unfair_group).
    """
    log_odds = (
        -4.8
        + SEASON[month % 12]
        + _contract(month, people, now, competitor)
        + _price(month, now)
        + _support(month, people, now, lately)
        + _usage(now, lately, competitor)
        + _payment(now, lately)
        + _age(month, people, now)
        + 0.4 * neglect
    )
    return 1 / (1 + np.exp(-log_odds))


def _contract(month: int, people: People, now: Subscription, competitor: bool) -> np.ndarray:
    """New customers without a contract leave; those with one wait for its end, unless they are bought out."""
    free = now.contract == MONTH_TO_MONTH
    newness = np.exp(-(month - people.joined) / 7)
    bound = np.where(now.ends - month <= 1, 2.0, 0.3 if competitor else -1.2)
    return np.where(free, 0.5 + (0.5 if competitor else 1.7) * newness, bound)


def _price(month: int, now: Subscription) -> np.ndarray:
    """A rise hurts for three months, and most where it is easy to leave; a cut holds for half a year."""
    age = month - now.changed
    rise = (now.price_change > 0.08) & (age <= 2)
    cut = (now.price_change < -0.05) & (age <= 5)
    return np.where(rise, np.where(now.contract == MONTH_TO_MONTH, 2.1, 0.5), 0.0) - 0.8 * cut


def _support(month: int, people: People, now: Subscription, lately: Behaviour) -> np.ndarray:
    """Open tickets count up to two, less for those who stayed long; bad lines matter from a point on."""
    patience = np.where(month - people.joined > 30, 0.5, 1.0)
    weight = np.where(now.contract == MONTH_TO_MONTH, 1.4, 0.4)
    return weight * patience * np.minimum(lately.tickets_open, 2) + 0.7 * (lately.dropped_calls > 4)


def _usage(now: Subscription, lately: Behaviour, competitor: bool) -> np.ndarray:
    """Fading usage is a farewell from the dear plans; too little and too much for the plan are both bad."""
    fading = np.where(now.charge > 30, 2.0, 0.4) * (0.2 if competitor else 1.0)
    share = lately.usage / ALLOWANCE[now.plan]
    too_little = 1.0 * (share < 0.2)
    too_much = 1.3 * ((share > 0.9) & (now.plan != FIBER))
    return fading * (lately.trend < FADING) + too_little + too_much


def _payment(now: Subscription, lately: Behaviour) -> np.ndarray:
    """One failed payment is a mishap, two are a sign, more add little."""
    weight = np.where(now.payment >= BY_HAND, 1.0, 0.6)
    return weight * np.array([0.0, 0.4, 1.9, 2.1])[lately.failures]


def _age(month: int, people: People, now: Subscription) -> np.ndarray:
    """The young leave where nothing holds them; the old leave a little more than those between."""
    age = people.age + month / 12
    return 0.6 * ((age < 30) & (now.contract == MONTH_TO_MONTH)) + 0.3 * (age >= 65)
