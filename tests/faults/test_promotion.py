"""Promoters killed at named points, at random moments, and while they race: always one champion, and all agree on it."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger, publish
from tests.support import bundles, invariants, promoters

POINTS = ("promote:judged", "promote:before", "promote:uncommitted", "promote:after", "promote:alias")
BEFORE = {"promote:judged", "promote:before", "promote:uncommitted"}  # after these the ledger knows nothing of it yet
BETTER = [{"strong": 1.5, "weak": weak} for weak in (1.0, 0.9, 1.1, 1.2)]
SEED = 20261126


@dataclass(frozen=True)
class Arena:
    """v1 is a poor champion; v2 to v5 are better ones, published and known to be so."""

    url: str
    uri: str
    model: str
    cache: Path
    fork: multiprocessing.context.ForkServerContext
    seconds: float  # that an undisturbed promoter takes

    def start(self, version: int = 2, fault: str = "") -> multiprocessing.process.BaseProcess:
        made = self.fork.Process(
            target=promoters.promote, args=(self.url, self.uri, self.model, version, self.cache, fault), daemon=True
        )
        made.start()
        return made

    def reset(self) -> None:
        """v1 is champion again."""
        champion = ledger.champion(self.url, self.model)
        if champion and champion.version != 1:
            first = ledger.version(self.url, self.model, 1)
            again = Verdict("by hand", "tester: back to the first")
            publish.record_decision(self.url, first, again, revision=champion.revision, actor="tester")
            publish.reconcile(self.url, self.uri, self.model)

    def check(self) -> None:
        """I1 as it is, before anything repairs it; then the aliases."""
        assert invariants.one_champion(self.url, self.uri, self.model, self.cache) == []
        assert invariants.aliases_agree(self.url, self.uri, self.model) == []

    def rerun(self, version: int = 2) -> None:
        """The next retraining of the same rows converges."""
        again = ledger.version(self.url, self.model, version)
        publish.decide(self.url, self.uri, again, promoters.ROWS, promoters.PARAMS, cache=self.cache, actor="rerun")


@pytest.fixture(scope="module")
def arena(postgres_url, stack, tmp_path_factory):
    """Children are forked from a server that has imported all that they need."""
    from infra.stack import postgres_server

    name = f"kills_{uuid.uuid4().hex[:8]}"
    with postgres_server.connect(postgres_url) as admin:
        admin.autocommit = True
        admin.execute(f"create database {name}")
    url, uri, model = (
        postgres_server.on_database(postgres_url, name),
        stack.mlflow_tracking_uri,
        f"kills-{uuid.uuid4().hex[:8]}",
    )
    ledger.migrate(url)
    folder = tmp_path_factory.mktemp("kills")
    for number, weights in enumerate([{"weak": 0.5}, *BETTER]):
        publish.publish_version(url, uri, bundles.write_release(folder / str(number), model, weights))
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(promoters.WARM)
    first = Verdict("by hand", "tester: begin")
    publish.record_decision(url, ledger.version(url, model, 1), first, revision=0, actor="tester")
    warm = Arena(url, uri, model, folder / "cache", fork, 0.0)
    for _ in range(2):  # the second is as fast as all that follow
        warm.reset()
        began = time.monotonic()
        child = warm.start()
        child.join(120)
        assert child.exitcode == 0
        took = time.monotonic() - began
    warm.check()
    print(f"an undisturbed promoter takes {took:.2f} s")
    return Arena(url, uri, model, folder / "cache", fork, took)


def kill_at_points(arena: Arena, times: int) -> None:
    for point in POINTS:
        for _ in range(times):
            arena.reset()
            child = arena.start(fault=f"{point}:kill")
            child.join(60)
            assert child.exitcode == -signal.SIGKILL, point
            assert ledger.champion(arena.url, arena.model).version == (1 if point in BEFORE else 2), point
            arena.check()
            arena.rerun()
            assert ledger.champion(arena.url, arena.model).version == 2
            arena.check()


def kill_at_random(arena: Arena, times: int, chance: random.Random) -> int:
    """How many were still at it when they were killed."""
    killed = 0
    for _ in range(times):
        arena.reset()
        children = [arena.start()]
        killed += strike(children, [chance.uniform(0, arena.seconds)])
        arena.check()
    return killed


def kill_racers(arena: Arena, rounds: int, chance: random.Random) -> int:
    killed = 0
    for _ in range(rounds):
        arena.reset()
        before = ledger.champion(arena.url, arena.model)
        children = [arena.start(version) for version in (2, 3, 4, 5)]
        killed += strike(children, sorted(chance.uniform(0, 1.5 * arena.seconds) for _ in children))
        after = ledger.champion(arena.url, arena.model)
        ended = [child.exitcode for child in children]
        assert set(ended) <= {0, promoters.MOVED, -signal.SIGKILL}, ended
        assert after.revision - before.revision <= 4 and (after.revision > before.revision or 0 not in ended)
        arena.check()
    return killed


def strike(children: Sequence, moments: Sequence[float]) -> int:
    """Kill each at its moment, in seconds from now; how many were alive then."""
    began, killed = time.monotonic(), 0
    for child, moment in zip(children, moments, strict=True):
        child.join(max(0.0, moment - (time.monotonic() - began)))
        killed += child.is_alive()
        child.kill()
    for child in children:
        child.join(30)
    return killed


def test_twenty_kills_leave_one_champion_that_all_agree_on(arena: Arena) -> None:
    chance = random.Random(SEED)
    with invariants.never_without_champion(arena.url, arena.model) as missed:
        kill_at_points(arena, 2)
        kill_at_random(arena, 6, chance)
        kill_racers(arena, 1, chance)
    assert missed == []


@pytest.mark.long
def test_250_kills_leave_one_champion_that_all_agree_on(arena: Arena) -> None:
    """10 at every named point, and 200 at random moments, half of them while four race."""
    chance, began = random.Random(SEED + 1), time.monotonic()
    with invariants.never_without_champion(arena.url, arena.model) as missed:
        kill_at_points(arena, 10)
        alone = kill_at_random(arena, 100, chance)
        racing = kill_racers(arena, 25, chance)
    print(f"killed at work: {alone} of 100 alone, {racing} of 100 racing; {time.monotonic() - began:.0f} s")
    assert missed == []
    assert alone > 50 and racing > 20


def test_the_checker_sees_a_fork_a_gap_and_a_changed_file(arena: Arena) -> None:
    """A checker that cannot fail checks nothing."""
    arena.reset()
    assert invariants.one_champion(arena.url, arena.uri, "nobody", arena.cache) == ["there is no champion"]
    champion = ledger.champion(arena.url, arena.model)
    moved = ledger.history(arena.url, arena.model)[0]
    broken = [moved.__class__(**{**vars(moved), "revision": moved.revision + 1, "from_version": 4}), moved]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ledger, "history", lambda *_: broken)
        found = invariants.one_champion(arena.url, arena.uri, arena.model, arena.cache)
    assert len(found) == 3, found
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ledger, "champion", lambda *_: champion.__class__(**{**vars(champion), "onnx_sha256": "0" * 64}))
        found = invariants.one_champion(arena.url, arena.uri, arena.model, arena.cache)
    assert "another digest" in found[-1]
