"""Who the customers are, when they join and what they take first."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from examples.telecom.company import (
    ALLOWANCE,
    CONTRACT_MONTHS,
    DROPPED_CALLS,
    GENDERS,
    ILL_TREATED,
    LAST_MONTH,
    LIST_PRICE,
    NEW_MIX,
    USUAL_MIX,
    Options,
    choose,
    days,
    first_day,
)

ACTIVE_AT_START = 0.6


@dataclass(frozen=True)
class People:
    """What never changes; arrays of one value a customer."""

    customer_id: np.ndarray
    joined: np.ndarray  # month; 0 and less for those who came before the history begins
    joined_on: np.ndarray
    age: np.ndarray  # years when the history begins
    gender: np.ndarray
    region: np.ndarray
    channel: np.ndarray
    dropped_calls: np.ndarray  # the rate of the line they live on, a month
    usage: np.ndarray  # gigabytes a month, before season and chance

    @property
    def ill_treated(self) -> np.ndarray:
        return self.gender == GENDERS.index(ILL_TREATED)


@dataclass(frozen=True)
class Subscription:
    """What each customer has now; arrays of one value a customer."""

    plan: np.ndarray
    contract: np.ndarray
    ends: np.ndarray  # last month of the contract; 0 for month-to-month
    charge: np.ndarray  # euro a month
    discount: np.ndarray  # percent off the list price
    payment: np.ndarray
    changed: np.ndarray  # month of the latest change; -99 for never
    price_change: np.ndarray  # of the latest change, as a fraction; 0 for never


def where(mask: np.ndarray, new: Subscription, old: Subscription) -> Subscription:
    """`new` where the mask says so, else `old`."""
    return Subscription(**{f.name: np.where(mask, getattr(new, f.name), getattr(old, f.name)) for f in fields(Subscription)})


def join(rng: np.random.Generator, ids: np.ndarray, options: Options) -> tuple[People, Subscription]:
    """The customers `ids`, and the first subscription of each."""
    n = len(ids)
    joined = _months_of_joining(rng, n)
    moved = options.shifted("covariate_shift", joined)

    def pick(name: str) -> np.ndarray:
        uniform = rng.random(n)
        return np.where(moved, choose(uniform, getattr(NEW_MIX, name)), choose(uniform, getattr(USUAL_MIX, name)))

    plan, contract, channel = pick("plans"), pick("contracts"), pick("channels")
    usual_age, new_age = rng.beta(1.6, USUAL_MIX.youth, n), rng.beta(1.6, NEW_MIX.youth, n)
    region = choose(rng.random(n), (0.24, 0.17, 0.08, 0.21, 0.16, 0.14))
    people = People(
        customer_id=ids,
        joined=joined,
        joined_on=first_day(joined) + days(rng.integers(0, 24, n)),  # known within two days, so before the month's end
        age=18 + 72 * np.where(moved, new_age, usual_age),
        gender=choose(rng.random(n), (0.485, 0.505, 0.01)),
        region=region,
        channel=channel,
        dropped_calls=DROPPED_CALLS[region] * rng.gamma(4, 0.25, n),
        usage=ALLOWANCE[plan] * np.exp(rng.normal(-0.75, 0.85, n)),
    )
    return people, _first_subscription(rng, people, plan, contract)


def _months_of_joining(rng: np.random.Generator, n: int) -> np.ndarray:
    """Most are there when the history begins, after a tenure of up to eight years; the others come evenly."""
    before = -np.minimum(rng.exponential(24, n), 95).astype(int)
    later = rng.integers(1, LAST_MONTH + 1, n)
    return np.where(rng.random(n) < ACTIVE_AT_START, before, later)


def _first_subscription(rng: np.random.Generator, people: People, plan: np.ndarray, contract: np.ndarray) -> Subscription:
    n = len(plan)
    months = CONTRACT_MONTHS[contract]
    # a random share, not a random integer: how much randomness that one takes depends on its bound
    running = np.where(people.joined < 1, (rng.random(n) * months).astype(int), months - 1)
    discount = np.array([0, 5, 10, 20])[choose(rng.random(n), (0.55, 0.15, 0.20, 0.10))]
    return Subscription(
        plan=plan,
        contract=contract,
        ends=np.where(months > 0, np.maximum(people.joined, 1) + running, 0),
        charge=np.round(LIST_PRICE[plan] * (1 - discount / 100) * rng.uniform(0.95, 1.05, n), 2),
        discount=discount,
        payment=choose(rng.random(n), (0.30, 0.27, 0.28, 0.15)),
        changed=np.full(n, -99),
        price_change=np.zeros(n),
    )
