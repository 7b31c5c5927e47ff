"""`evergreen model`: versions, the champion, and the decisions about it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated

import typer

from cli.output import Json, write
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import load as load_settings

A_VERSION = "number of a published version, such as 3 or v3"
commands = typer.Typer(help="Versions, the champion, and the decisions about it.", no_args_is_help=True, rich_markup_mode=None)


def number_of(version: str) -> int:
    """3, of "3" or "v3"."""
    digits = version.removeprefix("v")
    if not digits.isdigit():
        raise EvergreenError(
            f"{version!r} is no version: give a number, such as 3 or v3. `evergreen model history` lists them."
        )
    return int(digits)


def model_here() -> str:
    """The clone's model. Read without the rest of params.yaml, whose checks take longer than going back."""
    from ruamel.yaml import YAML

    file = Path("params.yaml")
    if not file.exists():
        raise EvergreenError("params.yaml is missing: run this in the project's folder.")
    values = YAML(typ="safe").load(file)
    if not isinstance(values, dict) or not isinstance(values.get("model"), str):
        raise EvergreenError("params.yaml names no model: give it one, as in `model: churn`.")
    return values["model"]


@commands.command()
def champion(
    at: Annotated[
        str | None, typer.Option(help="a moment of the past, such as 2025-03-31 (its end) or 2025-03-31T12:00")
    ] = None,
    as_json: Json = False,
) -> None:
    """The version that serves, with its figures; or who was champion at some time."""
    settings, model = load_settings(), model_here()
    if at is None:
        from cli import summary

        if as_json:
            from pipelines.registry import ledger

            write(ledger.champion(settings.promoter_url, model))
        else:
            typer.echo(summary.champion(settings, model))
        return
    from pipelines.registry import tenures

    moment, past = _moment(at), tenures.read(settings.promoter_url, model)
    tenure = tenures.at(past, moment)
    if tenure is None:
        first = f"its first was v{past[0].version}, since {past[0].since:%Y-%m-%d %H:%M} UTC" if past else "it has none yet"
        raise EvergreenError(
            f"{model} had no champion at {moment:%Y-%m-%d %H:%M} UTC: {first}. --at is a day of the calendar, on which a "
            "version was promoted or served; its as-of date is another matter. `evergreen model history` lists every decision."
        )
    if as_json:
        write(tenure)
        return
    until = f"until {tenure.until:%Y-%m-%d %H:%M:%S}" if tenure.until else "and is still"
    typer.echo(f"At {moment:%Y-%m-%d %H:%M:%S} UTC the champion of {model} was v{tenure.version}: revision {tenure.revision},")
    typer.echo(f"since {tenure.since:%Y-%m-%d %H:%M:%S} {until}. By {tenure.actor}: {tenure.reason}")


@commands.command()
def history(rows: Annotated[int, typer.Option(min=1, help="how many, newest first")] = 20, as_json: Json = False) -> None:
    """Decisions about the champion, newest first."""
    from cli import decisions
    from pipelines.registry import ledger

    model = model_here()
    past = ledger.history(load_settings().promoter_url, model, rows)
    if as_json:
        write(past)
        return
    if not past:
        typer.echo(f"No decision about {model} yet: `evergreen run retrain` leads to the first.")
    for row in past:
        when, move = f"{row.created_at:%Y-%m-%d %H:%M}  revision {row.revision:<3}", decisions.move(row)
        typer.echo(f"{when} {move:<34} {row.reason}")
        typer.echo(f"{'':<{len(when)}} {'':<34} by {row.actor}")


@commands.command()
def promote(
    version: Annotated[str, typer.Argument(help=A_VERSION)],
    reason: Annotated[str, typer.Option(help="stands in the ledger for good")],
) -> None:
    """Make a version champion by hand, past the gate."""
    from flows import manual

    manual.promote(load_settings(), number_of(version), actor=getpass.getuser(), reason=reason, say=typer.echo)
    typer.echo(f"v{number_of(version)} is the champion now. `evergreen model history` shows why.")


@commands.command()
def rollback(
    version: Annotated[str | None, typer.Argument(help=f"{A_VERSION}; by default the champion before this one")] = None,
    reason: Annotated[str, typer.Option(help="stands in the ledger for good")] = "no reason given",
) -> None:
    """Go back to an earlier champion, at once."""
    from flows import rollback as back

    settings, number = load_settings(), number_of(version) if version else None
    row = back.roll_back(settings, model_here(), number, actor=getpass.getuser(), reason=reason)
    back.announce_later(settings, row)
    typer.echo(
        f"{row.model} v{row.to_version} is the champion again (revision {row.revision}), instead of v{row.from_version}."
    )
    typer.echo("MLflow's aliases, the first page and the event follow in a moment; what does not, `evergreen doctor` mends.")
    typer.echo(f"The other way: evergreen model promote v{row.from_version} --reason TEXT")


@commands.command()
def compare(
    first: Annotated[str, typer.Argument(help=A_VERSION)],
    second: Annotated[str, typer.Argument(help=A_VERSION)],
    as_json: Json = False,
) -> None:
    """Two versions side by side: decisions, figures, rows, columns, candidates, params, size and speed."""
    from cli import compare

    sections = compare.compare(load_settings(), model_here(), [number_of(first), number_of(second)])
    if as_json:
        write(sections)
    else:
        typer.echo(compare.text(sections))


@commands.command()
def trace(
    what: Annotated[str, typer.Argument(help="a version, such as v3, or the id of a prediction")],
    sql: Annotated[bool, typer.Option("--sql", help="print the training query as well")] = False,
    as_json: Json = False,
) -> None:
    """Where a version or a prediction comes from, each step checked; exit with 1 when one does not hold."""
    from flows import trace as tracing
    from pipelines.registry import ledger

    settings, steps = load_settings(), []
    if what.removeprefix("v").isdigit():
        version = ledger.version(settings.promoter_url, model_here(), number_of(what))
    else:
        step, version = tracing.of_prediction(settings, model_here(), what)
        steps.append(step)
    marks = {True: "holds", False: "BROKEN", None: ""}
    for step in [*steps, *tracing.of_version(settings, version)]:
        if not as_json:
            typer.echo(f"{step.what:<11} {marks[step.holds]:<7} {step.message}")
        steps.append(step)
    if as_json:
        write({"steps": steps, "sql": tracing.sql_of(settings, version)})
    elif sql:
        typer.echo(f"\n{tracing.sql_of(settings, version)}")
    if any(step.holds is False for step in steps):
        raise typer.Exit(1)


@commands.command()
def rebuild(version: Annotated[str, typer.Argument(help=A_VERSION)]) -> None:
    """Make a version once more, from the source, and compare it with what was published; exit with 1 when they differ."""
    from flows import rebuild as again

    rebuilt = again.rebuild(load_settings(), model_here(), number_of(version), typer.echo)
    began = "the source, which gives the same rows" if rebuilt.remade else "the snapshot in the cache"
    typer.echo(f"\n{rebuilt.version.model} {rebuilt.version} was rebuilt from {began}.")
    if not rebuilt.changed:
        typer.echo(f"All {len(rebuilt.version.manifest)} files of the bundle are the published ones, byte for byte.")
    else:
        typer.echo(f"Files with other bytes than the published ones: {', '.join(rebuilt.changed)}.")
    if rebuilt.lock_differs:
        typer.echo("The packages installed are not those of its time: requirements.lock differs.")
    same = "the same model" if rebuilt.is_same else f"ANOTHER MODEL: above {again.TOLERANCE:g}"
    typer.echo(f"Scores of {rebuilt.rows:,} rows differ by {rebuilt.largest:.1e} at most: {same}.")
    if not rebuilt.is_same:
        raise typer.Exit(1)


def _moment(text: str) -> datetime:
    """A moment as people write it, UTC unless it says otherwise; of a day alone its end."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise EvergreenError(f"--at {text!r} is no time: write 2025-03-31 or 2025-03-31T12:00.") from None
    if len(text) == len("2025-03-31"):
        moment = datetime.combine(moment, time.max)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > datetime.combine(datetime.now(UTC), time.max, UTC):
        raise EvergreenError(f"--at {text} is still to come: nobody knows who will be champion.")
    return min(moment, datetime.now(UTC))


@commands.command()
def publish() -> None:
    """Publish what `dvc repro` made in this clone, and let the gate decide."""
    from flows import manual

    version, verdict = manual.publish(load_settings(), typer.echo)
    typer.echo(f"{version.model} {version}: {verdict.outcome}. {verdict.headline}")


@commands.command()
def checkout(
    version: Annotated[str, typer.Argument(help="number of a published version, such as 3 or v3")],
    force: Annotated[bool, typer.Option(help="overwrite changes to params.yaml")] = False,
) -> None:
    """Bring a version's params.yaml, dvc.lock and results into this clone."""
    from flows import manual

    typer.echo("Bringing its files in from the cache, or from the remote.")
    stale = manual.checkout(load_settings(), number_of(version), force=force)
    next_step = (
        f"`dvc repro` would run {', '.join(stale)}: code or SQL differ here" if stale else "`dvc repro` has nothing to do"
    )
    typer.echo(f"This clone now holds v{number_of(version)}: {next_step}.")
