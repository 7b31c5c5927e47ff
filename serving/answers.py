"""From rows to answers: the requests of one turn of the event loop share one run of the graph and one write to the log."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from serving.errors import http_error
from serving.version import Served, Warned

if TYPE_CHECKING:
    from serving.metrics import Metrics
    from serving.spool import Spool

LARGE = 64  # rows of a request that is scored beside the event loop, so that the small ones do not wait for it
VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}  # of a UUID (RFC 9562): two bits are given

encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct):
    """What is said of one row."""

    prediction_id: str
    probability: float
    decision: bool  # the probability is at or above the version's threshold
    tier: str
    model: str
    version: int
    scored_at: str  # ISO 8601, UTC
    stale: bool  # the ledger could not be followed for a while: a newer version may be champion
    warnings: list[Warned]  # what training has not seen of the row; it is scored all the same


class Waiting(NamedTuple):
    """A request between its decoding and its answer."""

    served: Served
    rows: Sequence[Any]
    done: asyncio.Future[list[bytes]]


class Scorer:
    """Answers requests, in the order they came.

    `is_stale` tells whether what serves may be out of date; `durable`: an answer waits until its record is on the disk.
    """

    def __init__(self, spool: Spool, metrics: Metrics, is_stale: Callable[[], bool], *, durable: bool) -> None:
        self._spool, self._metrics, self._is_stale, self._durable = spool, metrics, is_stale, durable
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(1, "large")
        self._waiting: list[Waiting] = []
        self._written: list[tuple[asyncio.Future[list[bytes]], list[bytes]]] = []  # and not yet synced
        self._syncing = False

    def answer(self, served: Served, rows: Sequence[Any]) -> asyncio.Future[list[bytes]]:
        """The answers to the rows of one request, each as JSON.

        Raises:
            RefusedError: the log cannot be written, or the graph gave no probability.
        """
        request = Waiting(served, rows, self._loop.create_future())
        if len(rows) > LARGE:
            scoring = self._loop.run_in_executor(self._threads, _scores, served, rows)
            scoring.add_done_callback(lambda future: self._finish_large(request, future))
        else:
            if not self._waiting:
                self._loop.call_soon(self._turn)  # behind all that this turn has begun
            self._waiting.append(request)
        return request.done

    def rotate(self) -> None:
        """Let the log go to its next file where that is due; to be called now and then."""
        if not self._syncing:
            self._spool.rotate(time.monotonic())

    def _turn(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            served = waiting[0].served  # more than one only in the turn in which the champion changes
            same = [request for request in waiting if request.served is served]
            waiting = [request for request in waiting if request.served is not served]
            try:
                rows = [msgspec.structs.astuple(row) for request in same for row in request.rows]
                self._finish(same, rows, served.score(rows).tolist())
            except Exception as error:
                _fail(same, error)

    def _finish_large(self, request: Waiting, future: asyncio.Future[tuple[list[tuple[Any, ...]], list[float]]]) -> None:
        try:
            self._finish([request], *future.result())
        except Exception as error:
            _fail([request], error)

    def _finish(self, requests: Sequence[Waiting], rows: Sequence[Sequence[Any]], scores: Sequence[float]) -> None:
        """Write the records, then let the answers go."""
        served = requests[0].served
        answers, lines = self._written_out(served, [row for request in requests for row in request.rows], rows, scores)
        try:
            self._spool.write(b"".join(lines))
        except OSError as error:
            self._metrics.log_failed(error)
            raise http_error(503, "log_unavailable") from None
        place = 0
        for request in requests:
            of_request, place = answers[place : place + len(request.rows)], place + len(request.rows)
            if self._durable:
                self._written.append((request.done, of_request))
            elif not request.done.done():
                request.done.set_result(of_request)
        if self._durable and not self._syncing:
            self._sync()

    def _written_out(
        self, served: Served, structs: Sequence[Any], rows: Sequence[Sequence[Any]], scores: Sequence[float]
    ) -> tuple[list[bytes], list[bytes]]:
        """Answers, and lines of the log, one a row."""
        champion, windows, stale = served.champion, served.windows, self._is_stale()
        model, version, now = champion.model, champion.version, time.time_ns()
        micros = now // 1000
        moment = datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="microseconds")
        answers, lines = [], []
        for identity, struct, row, score in zip(identities(now, len(rows)), structs, rows, scores, strict=True):
            if not 0 <= score <= 1:
                raise http_error(500, "score_not_finite")
            warnings = served.warnings(row)
            for warned in warnings:
                self._metrics.unseen[warned.type, warned.field] += 1
            who = row[-1]
            if who is not None:
                setattr(struct, served.requests.entity, None)  # the features are noted without it
            decision, entity = score >= served.threshold, identity if who is None else str(who)
            lines.append(encode((identity, micros, version, *windows, score, decision, entity, struct)) + b"\n")
            answers.append(
                encode(Answer(identity, score, decision, served.tier(score), model, version, moment, stale, warnings))
            )
        return answers, lines

    def _sync(self) -> None:
        """Bring what was written to the disk; what is written meanwhile goes together, next time."""
        self._syncing = True
        written, self._written = self._written, []
        syncing = self._loop.run_in_executor(None, os.fdatasync, self._spool.descriptor)
        syncing.add_done_callback(lambda future: self._synced(written, future))

    def _synced(self, written: Sequence[tuple[asyncio.Future[list[bytes]], list[bytes]]], future: asyncio.Future[None]) -> None:
        error = future.exception()
        if error is not None:
            self._metrics.log_failed(error)
        for done, answers in written:
            if done.done():
                continue
            if error is None:
                done.set_result(answers)
            else:
                done.set_exception(http_error(503, "log_unavailable"))
        self._syncing = False
        if self._written:
            self._sync()


def identities(now: int, count: int) -> Iterator[str]:
    """Identifiers of one moment, in nanoseconds: UUIDs of version 7 (RFC 9562), 48 bits of milliseconds and 74 of chance."""
    millis, drawn = f"{now // 1_000_000:012x}", os.urandom(10 * count).hex()
    start = f"{millis[:8]}-{millis[8:]}-7"
    for at in range(0, 20 * count, 20):
        digits = drawn[at : at + 20]
        yield f"{start}{digits[:3]}-{VARIANT[digits[3]]}{digits[4:7]}-{digits[7:19]}"


def _scores(served: Served, rows: Sequence[Any]) -> tuple[list[tuple[Any, ...]], list[float]]:
    listed = [msgspec.structs.astuple(row) for row in rows]
    return listed, served.score(listed).tolist()


def _fail(requests: Sequence[Waiting], error: Exception) -> None:
    for request in requests:
        if not request.done.done():
            request.done.set_exception(error)
