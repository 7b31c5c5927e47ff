"""Sampled Shapley values are the ones that the definition gives."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest

from pipelines.config import params
from pipelines.training import shapley
from pipelines.training.candidates import Rows, linear


def rows_of(numbers, codes):
    numbers, codes = np.asarray(numbers, np.float32), np.asarray(codes, np.float32)
    known = tuple(int(most) - 1 for most in codes.max(axis=0)) if codes.size else ()
    return Rows(
        numbers,
        codes,
        np.arange(len(numbers), dtype=np.int8) % 2,
        np.arange(len(numbers)),
        np.ones(len(numbers), np.float32),
        known,
    )


def some_rows(count, seed):
    random = np.random.default_rng(seed)
    codes = random.integers(0, 4, (count, 2))
    codes[0] = 3
    return rows_of(random.normal(size=(count, 2)), codes)


def entangled(rows):
    """Interactions of two and of three features."""
    first, second, third, fourth = rows.matrix().astype(float).T
    return first * second + 2 * (third == 3) * first + first * second * fourth + 0.5 * third


def exact(margin, row, background):
    """By the definition: over all sets of the other features, with the absent ones drawn from the background."""
    target, others = row.matrix()[0], background.matrix()
    count = len(target)

    def worth(present):
        mixed = others.copy()
        mixed[:, list(present)] = target[list(present)]
        return margin(rows_of(mixed[:, :2], mixed[:, 2:])).mean()

    values = np.zeros(count)
    for feature in range(count):
        rest = [other for other in range(count) if other != feature]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for present in combinations(rest, size):
                values[feature] += weight * (worth((*present, feature)) - worth(present))
    return values


def test_with_enough_orders_they_are_the_exact_ones():
    background, row = some_rows(5, seed=1), some_rows(1, seed=2)
    found = shapley.sampled(entangled, row.take(np.zeros(4000, int)), background, permutations=20, seed=3)
    assert found.mean(axis=0) == pytest.approx(exact(entangled, row, background), abs=0.03)


def test_they_sum_to_the_margin_over_the_background():
    rows, background = some_rows(50, seed=1), some_rows(1, seed=2)
    found = shapley.sampled(entangled, rows, background, permutations=2, seed=3)
    assert found.sum(axis=1) == pytest.approx(entangled(rows) - entangled(background))


def test_two_features_that_interact_need_one_pair_of_orders():
    background, row = some_rows(1, seed=1), some_rows(1, seed=2)

    def margin(rows):
        first, second, third, _ = rows.matrix().astype(float).T
        return first * second + 2 * first * third

    found = shapley.sampled(margin, row, background, permutations=2, seed=3)
    assert found[0] == pytest.approx(exact(margin, row, background))


def test_of_the_linear_candidate_they_are_its_own():
    rows = some_rows(200, seed=1)
    model = linear.fit(rows, params.read().candidate("linear"), seed=1, threads=1)
    found = shapley.sampled(lambda some: linear.margin(model, some), rows, rows.take([7]), permutations=2, seed=2)
    values = linear.explain(model, rows)
    assert found == pytest.approx(values - values[7])


def test_the_same_seed_gives_the_same_values():
    rows, background = some_rows(20, seed=1), some_rows(7, seed=2)
    one, two, other = (shapley.sampled(entangled, rows, background, permutations=4, seed=seed) for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()
