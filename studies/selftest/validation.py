"""The data gate, shown thirty kinds of faults at three strengths, and clean rows.

The suite is learnt from the older snapshots of each table, as `evergreen init` proposes it, and judged by the very function
that the stage validate calls. No proposed entry is left to Great Expectations.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config.params import Params
from pipelines.validation import validate
from pipelines.validation.checks import Check
from pipelines.validation.expectations import Expectation
from studies.selftest import Asked, Claim, corruptions, grounds, power
from studies.selftest.corruptions import Kind, Load, Planted
from studies.selftest.grounds import Ground
from studies.selftest.power import Trial

SEEDS = 20
CLEAN = 100  # resamples and later windows
MOST_ALARMS = 2  # of them
LEAST_SEEN = 0.99  # of the faults that must be seen


def claims(asked: Asked) -> Iterator[Claim]:
    """Of what must be seen nearly everything is blocked and named; clean rows pass. Each table is judged by its own params.

    Of `size`, a tenth are seeds. Quick is a table made up on the spot, with each kind that must be seen at its weakest.
    """
    if asked.quick:
        table = grounds.small(asked.params)
        musts = [kind for kind in corruptions.KINDS if kind.must]
        found = [tried(table, table.suite(), kind, *kind.strengths[-1], seed=1) for kind in musts]
        yield must_claim([one for one in found if one])
        yield clean_claim([table], 4, lambda _: None)
        return
    tables = grounds.load(asked.data, asked.say)
    trials = measure(tables, max(1, asked.size * SEEDS // 200), asked.say)
    clean = clean_claim(tables, max(4, asked.size * CLEAN // 200), asked.say)
    must = must_claim(trials)
    if asked.out:
        power.write(trials, [must, clean], asked.out)
    yield must
    yield clean


def must_claim(trials: list[Trial]) -> Claim:
    """Over all kinds that must be seen, at all strengths."""
    musts = {kind.name for kind in corruptions.KINDS if kind.must}
    asked = [trial for trial in trials if trial.kind in musts]
    seen = [trial for trial in asked if trial.blocked and trial.named]
    missed = [trial for trial in asked if not (trial.blocked and trial.named)]
    examples = "; ".join(f"{one.table} {one.kind} {one.strength} [{one.column}] {one.found or 'nothing'}" for one in missed[:5])
    share = len(seen) / len(asked)
    message = f"of {len(asked)} faults that must be seen at least {LEAST_SEEN:.0%} are blocked, by column and kind"
    return Claim(message, share >= LEAST_SEEN, f"{share:.2%}" + (f"; not: {examples}" if missed else ""))


def clean_claim(tables: list[Ground], count: int, say: Callable[[str], None]) -> Claim:
    """Resamples of the tables, and their later snapshots as they came, by a suite of what was before them."""
    alarms = [alarm for number, alarm in enumerate(_clean(tables, count)) if _said(say, number, count) and alarm]
    message = f"of {count} clean tables at most {MOST_ALARMS} are blocked"
    return Claim(
        message,
        len(alarms) <= MOST_ALARMS * max(1, count // CLEAN),
        f"{len(alarms)} were" + "".join(f"; {one}" for one in alarms),
    )


def measure(tables: list[Ground], seeds: int, say: Callable[[str], None]) -> list[Trial]:
    """Every kind and strength on every table, once a seed, in as many processes as there are cores."""
    tasks = [(table, table.suite(), seed) for table in tables for seed in range(seeds)]
    found: list[Trial] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for number, trials in enumerate(pool.map(_tries, tasks)):
            found += trials
            _said(say, number, len(tasks))
    return found


def tried(table: Ground, suite: list[Expectation], kind: Kind, strength: object, words: str, seed: int) -> Trial | None:
    """One fault, and what the gate says; None where it cannot befall the table."""
    place = corruptions.KINDS.index(kind)
    load = Load(table.rows, table.params.data, table.learnt, _newest(table), np.random.default_rng([seed, place]))
    planted = kind.plant(load, strength)
    if planted is None:
        return None
    failed = failures(planted.rows, suite, table.params)
    blocking = [check for check in failed if check.severity == "critical"]
    named = any(_names(check, kind, planted) for check in blocking)
    found = ", ".join(f"{check.kind} [{check.column}]" for check in blocking[:3])
    return Trial(table.name, kind.name, words, seed, ", ".join(planted.columns), bool(blocking), named, bool(failed), found)


def failures(rows: pa.Table, suite: list[Expectation], params: Params) -> list[Check]:
    """The checks of the data gate that are red."""
    with io.BytesIO() as file:
        pq.write_table(rows, file, compression="none", row_group_size=64_000)
        return [check for check in validate.judge_rows(file, suite, params).checks if not check.success]


def _tries(task: tuple[Ground, list[Expectation], int]) -> list[Trial]:
    table, suite, seed = task
    asked = ((kind, strength, words) for kind in corruptions.KINDS for strength, words in kind.strengths)
    found = (tried(table, suite, kind, strength, words, seed) for kind, strength, words in asked)
    return [one for one in found if one is not None]


def _names(check: Check, kind: Kind, planted: Planted) -> bool:
    right = not planted.columns or bool({*(check.column or "").split(", ")} & {*planted.columns})
    return right and check.kind in kind.named


def _clean(tables: list[Ground], count: int) -> Iterator[str]:
    """What was blocked, of as many clean tables; "" for those that passed. The later windows first, then resamples."""
    yielded = 0
    for table, before, now in _later(tables):
        if yielded < count:
            yielded += 1
            yield _alarm(now, before.suite(), f"{table.name} at {now.days[-1]}")
    for number in range(count - yielded):
        table = tables[number % len(tables)]
        yield _alarm(table.resampled(number), table.suite(), f"{table.name}, resample {number}")


def _later(tables: Iterable[Ground]) -> Iterator[tuple[Ground, Ground, Ground]]:
    """Each snapshot that has enough others before it: the table, as it was when the suite was learnt, and as it came then."""
    for table in tables:
        newest = table.params.evaluate.newest_snapshots
        for place in range(newest + 4, len(table.days)):
            yield table, table.until(table.days[place - 1]), table.until(table.days[place])


def _alarm(now: Ground, suite: list[Expectation], where: str) -> str:
    blocking = [check for check in failures(now.rows, suite, now.params) if check.severity == "critical"]
    return f"{where}: {blocking[0]}" if blocking else ""


def _newest(table: Ground) -> np.ndarray:
    time = table.params.data.time
    if time is None:
        return np.ones(table.rows.num_rows, bool)
    days = table.rows[time].to_numpy()
    return days == days.max()


def _one_thread() -> None:
    pa.set_cpu_count(1)


def _said(say: Callable[[str], None], number: int, count: int) -> bool:
    if (number + 1) % 20 == 0 or number + 1 == count:
        say(f"  {number + 1} of {count}")
    return True
