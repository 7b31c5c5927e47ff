"""What the invented company sells, to whom, and when its world moves.

A month is a number: 1 is January 2024, 0 and less lie before the history begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

LAST_MONTH = 24
HISTORY_BEGINS = np.datetime64("2024-01-01")

# The first month of each shift. Without it, all rows known before that month are the same, bit by bit.
SHIFT_BEGINS = {"broken_feed": 14, "covariate_shift": 15, "concept_shift": 17, "unfair_group": 21}
BROKEN_FEED_ENDS = 14
BROKEN_FEED_FOUND = np.datetime64("2025-04-25")  # eight weeks after, when somebody looked into it and declared it
ALL_SHIFTS = frozenset(SHIFT_BEGINS)
ILL_TREATED = "f"  # the gender whose tickets unfair_group logs late

PLANS = ("basic", "standard", "premium", "fiber")
LIST_PRICE = np.array([20.0, 35.0, 55.0, 70.0])  # euro a month
ALLOWANCE = np.array([5.0, 20.0, 60.0, 200.0])  # gigabytes a month
BASIC, STANDARD, PREMIUM, FIBER = range(4)

CONTRACTS = ("month-to-month", "one year", "two year")
CONTRACT_MONTHS = np.array([0, 12, 24])
MONTH_TO_MONTH = 0

PAYMENT_METHODS = ("credit card", "bank transfer", "electronic check", "mailed check")
BY_HAND = 2  # from here on, a payment method that somebody has to remember
GENDERS = ("f", "m", "x")
REGIONS = ("centre", "east", "islands", "north", "south", "west")
DROPPED_CALLS = np.array([1.0, 3.2, 4.0, 1.2, 1.6, 1.0])  # a month, by region
CHANNELS = ("online", "partner", "phone", "shop")


@dataclass(frozen=True)
class Mix:
    """Shares of what joining customers are like and take."""

    plans: tuple[float, ...]
    contracts: tuple[float, ...]
    channels: tuple[float, ...]
    youth: float  # second parameter of the beta distribution of age: higher is younger


USUAL_MIX = Mix((0.30, 0.34, 0.22, 0.14), (0.56, 0.26, 0.18), (0.34, 0.14, 0.20, 0.32), 2.2)
NEW_MIX = Mix((0.14, 0.22, 0.28, 0.36), (0.74, 0.18, 0.08), (0.62, 0.22, 0.08, 0.08), 4.5)


@dataclass(frozen=True)
class Options:
    """What a load of the demo is a pure function of."""

    customers: int
    months: int
    seed: int
    shifts: frozenset[str]
    begins: Mapping[str, int] = field(default_factory=lambda: SHIFT_BEGINS)  # first month of each shift

    def shifted(self, shift: str, month: int | np.ndarray) -> bool | np.ndarray:
        """Whether `shift` is in force in a month."""
        return (shift in self.shifts) & (month >= self.begins[shift])


def first_day(month: int | np.ndarray) -> np.ndarray:
    """The first day of a month, as datetime64[D]."""
    months = (np.asarray(month) - 1).astype("timedelta64[M]")
    return (HISTORY_BEGINS.astype("datetime64[M]") + months).astype("datetime64[D]")


def month_end(month: int | np.ndarray) -> np.ndarray:
    return first_day(np.asarray(month) + 1) - days(1)


def days(count: int | np.ndarray) -> np.ndarray:
    """A number of days, as timedelta64[D]."""
    return np.asarray(count).astype("timedelta64[D]")


def choose(uniform: np.ndarray, shares: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """Category numbers, from uniform draws and the categories' shares."""
    return np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right").astype(np.int8)
