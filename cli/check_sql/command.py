"""`evergreen data check-sql`: is the training query time-safe, and does the source have the indexes that it needs?"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, write
from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    import psycopg

    from cli.check_sql.history import History
    from cli.check_sql.prove import Check, Proof
    from pipelines.config.params import DataParams, Params
    from pipelines.config.settings import Settings
    from pipelines.data.extract import Queries

MOST_ROWS = 20_000_000  # copied without --force: some minutes, and some GB of our server's disk


@dataclass(frozen=True)
class Request:
    """What is asked for. days: by default the pin's, and two earlier ones."""

    days: tuple[date, ...] = ()
    force: bool = False
    analyze: bool = False
    most_rows: int = MOST_ROWS


def check_sql(
    as_of: Annotated[
        list[str] | None, typer.Option(help="YYYY-MM-DD; may be repeated. By default the pin, and two earlier snapshots")
    ] = None,
    force: Annotated[bool, typer.Option(help=f"copy more than {MOST_ROWS:,} rows")] = False,
    analyze: Annotated[bool, typer.Option(help="run the query for its plan: real numbers instead of estimates")] = False,
    as_json: Json = False,
) -> None:
    """Prove that the training query reads nothing from the future (else exit with 1), and look for missing indexes."""
    from pipelines.config import params
    from pipelines.config.settings import load as load_settings

    config = params.read()
    request = Request(tuple(_day(text) for text in as_of or []), force, analyze)
    lines: list[str] = []
    with _terminated_like_interrupted():
        say = lines.append if as_json else typer.echo
        proven = run(load_settings(), config, Path("sql") / config.data.dataset, request, say)
    if as_json:
        write({"proven": proven, "lines": lines})
    if not proven:
        raise typer.Exit(1)


def run(settings: Settings, config: Params, folder: Path, request: Request, say: Callable[[str], None]) -> bool:
    """Check the queries of a dataset against the source; whether they are time-safe.

    Args:
        folder: the dataset's.

    Raises:
        EvergreenError: they cannot be checked as they are; with what to do.
    """
    from cli.check_sql import available_at, history, plans, relations, report, scratch
    from cli.check_sql.prove import Proof
    from pipelines.data import extract, postgres

    queries, data = extract.Queries(folder), config.data
    if data.time is None:
        say(f"{data.dataset} has no time (data.time is null): nothing is read as of a date, so there is nothing to prove.")
        return True
    file = folder / "available_at.yaml"
    known = available_at.read(file)
    pin = max(request.days) if request.days else _pinned(settings.source_url, queries, data)
    training = postgres.bind(queries.training_set, data.binds | {"as_of": pin})
    with _source(settings.source_url, data.timezone) as source:  # by itself: what is wrong with the query is said of the source
        slow, place = plans.explain(source, training, analyze=request.analyze), scratch.locale(source)
    with (
        scratch.database(settings, place, data.timezone) as ours,
        _source(settings.source_url, data.timezone) as source,
    ):
        statements = [training, *([_outcomes(queries, data, pin, [pin])] if queries.outcomes.exists() else [])]
        reading = relations.find(ours, source, statements, known)
        history.check(source, reading, known, str(file))
        copied = history.History(ours, source, reading, known)
        _copy(copied, pin, request, say)
        every_day, most_rows = config.monitor.snapshot_policy == "every", None if request.force else request.most_rows
        proof = Proof(ours, source, copied, queries, data, every_day=every_day, most_rows=most_rows)
        failed = 0
        for check in _checks(proof, queries, data, request, pin):
            failed += check.fails
            for line in report.told(check):
                say(line)
    for line in report.planned(slow):
        say(line)
    say("Time-safe, in all that was compared." if not failed else f"NOT time-safe: {failed} of the comparisons above differ.")
    say(report.LIMITS)
    return not failed


def _checks(proof: Proof, queries: Queries, data: DataParams, request: Request, pin: date) -> Iterator[Check]:
    """All comparisons, the dearest first: as of dates, the clock, features of snapshots, and labels."""
    training = proof.training(pin)
    full = proof.full(training)
    snapshots = proof.snapshots(full)
    if not snapshots:
        raise EvergreenError(f"0 rows are known as of {pin}, so nothing can be compared: give another day by --as-of.")
    label_age = timedelta(days=data.horizon_days + data.embargo_days)
    for day in request.days or (pin, *_spread([one for one in snapshots[:-1] if one - label_age >= snapshots[-1]])):
        statement = proof.training(day)
        result = full if day == pin else proof.full(statement)
        yield proof.as_of(day, statement, result, queries.training_set.name)
        if queries.outcomes.exists() and (scored := proof.snapshots(result)):
            statement = _outcomes(queries, data, day, scored)
            yield proof.as_of(day, statement, proof.full(statement), queries.outcomes.name)
    if (clock := proof.clock(pin, training)) is not None:
        yield clock
    for snapshot in _spread(snapshots):
        yield from proof.features(pin, snapshot, full)
    for snapshot in _spread([one for one in snapshots if one + label_age < pin]):
        yield proof.labels(pin, snapshot, full)


def _copy(copied: History, through: date, request: Request, say: Callable[[str], None]) -> None:
    counts = copied.count(through)
    total = sum(counts.values())
    listed = ", ".join(f"{table} {rows:,}" for table, rows in counts.items())
    say(f"Copying what was known by {through} into a database of ours, gone afterwards: {total:,} rows ({listed}).")
    if total > request.most_rows and not request.force:
        raise EvergreenError(
            f"{total:,} rows are more than {request.most_rows:,}: choose an earlier day by --as-of, when fewer were known, or "
            "pass --force where our server has the room."
        )
    copied.copy(through)


def _outcomes(queries: Queries, data: DataParams, day: date, scored: Sequence[date]) -> str:
    from pipelines.data import postgres

    return postgres.bind(queries.outcomes, data.binds | {"as_of": day, "score_days": list(scored)})


def _spread(days: Sequence[date]) -> list[date]:
    """The first and the middle one: two are enough, since every day is read by the same text."""
    return list(dict.fromkeys([days[0], days[len(days) // 2]])) if days else []


def _pinned(url: str, queries: Queries, data: DataParams) -> date:
    from pipelines.data import extract, postgres

    if isinstance(data.as_of, date):
        return data.as_of
    with postgres.snapshot(url, data.timezone) as source:
        complete = extract.watermark(source, queries)
    if complete is None:
        raise EvergreenError("Nothing is pinned, and the dataset has no watermark.sql: give a day by --as-of.")
    return complete


@contextmanager
def _source(url: str, timezone: str) -> Iterator[psycopg.Connection]:
    """A connection in one snapshot that can change nothing, whatever its role may do."""
    from cli.check_sql.scratch import connected

    with connected(url, timezone) as connection:
        connection.execute("set transaction isolation level repeatable read read only")
        yield connection


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: through everything that cleans up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise EvergreenError(f"--as-of {text!r} is not a date: write YYYY-MM-DD.") from None
