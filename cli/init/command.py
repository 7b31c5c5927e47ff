"""`evergreen init`: from a table of the company's to the files of a dataset."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import available_timezones

import typer

from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    from cli.init.survey import Options
    from pipelines.config.settings import Settings


def init(
    name: Annotated[str, typer.Argument(help="of the model and its folder below sql/: lower-case letters, digits, - and _")],
    target: Annotated[str, typer.Option(help="the column to predict: two values, NULL where it is not known yet")],
    table: Annotated[str | None, typer.Option(help="schema.table (or a view) in the source database")] = None,
    sql: Annotated[Path | None, typer.Option(help="a file with one query, instead of --table")] = None,
    positive: Annotated[str | None, typer.Option(help="the target's value that is predicted, where that is not plain")] = None,
    id: Annotated[str | None, typer.Option(help="who a row is about; by default a column that looks like an id")] = None,
    group: Annotated[
        str | None, typer.Option(help="who several rows are about, in a table without dates: kept together")
    ] = None,
    time: Annotated[str | None, typer.Option(help="a row's own day: what is read of it was known then")] = None,
    horizon: Annotated[int, typer.Option(min=0, help="days after it until the label is known")] = 0,
    protected: Annotated[
        str, typer.Option(help="columns to audit and gate by, as A,B; they are taken from the models (features.exclude)")
    ] = "",
    personal: Annotated[str, typer.Option(help="columns that name a person: no model and no page sees them")] = "",
    available_after: Annotated[str, typer.Option(help="columns known only after the outcome: they are not read")] = "",
    exclude: Annotated[str, typer.Option(help="columns that no model may see; pages show them")] = "",
    keep: Annotated[str, typer.Option(help="columns in which NA, unknown and the like are values, and not NULL")] = "",
    timezone: Annotated[str, typer.Option(help="whose days moments fall into, such as Europe/Berlin: data.timezone")] = "UTC",
    force: Annotated[bool, typer.Option(help="overwrite params.yaml and the files of sql/NAME")] = False,
) -> None:
    """Write params.yaml and sql/NAME/ for a table, and say what was decided and what to check."""
    from cli.init import names
    from cli.init.survey import Options
    from pipelines.config.settings import load as load_settings

    if (table is None) == (sql is None):
        raise EvergreenError("Say where the rows are: either --table schema.table or --sql FILE.")
    options = Options(
        target=target,
        positive=positive,
        id=id,
        group=group,
        time=time,
        horizon=horizon,
        protected=tuple(names.listed(protected)),
        personal=tuple(names.listed(personal)),
        available_after=tuple(names.listed(available_after)),
        exclude=tuple(names.listed(exclude)),
        timezone=timezone,
        keep=tuple(names.listed(keep)),
    )
    run(load_settings(), name, table or sql, options, force=force, say=typer.echo)


def run(settings: Settings, name: str, place: str | Path, options: Options, *, force: bool, say: Callable[[str], None]) -> None:
    """Read the source, decide, try the training query out, and write the files; on any error nothing is written.

    Args:
        settings: of the clone.
        place: schema.table, or a file with a query.

    Raises:
        EvergreenError: the name cannot be used, files of a person's are in the way, or the table cannot be learnt from as
            it is; with what to do.
    """
    from cli.init import decide, expectations, known, leaks, measure, parameters, queries, report, source, survey, write
    from pipelines.config import params

    folder = settings.folder
    if not re.fullmatch(params.NAME, name):
        raise EvergreenError(f"{name!r} cannot name a model: write lower-case letters, digits, - and _, a letter first.")
    if options.timezone not in available_timezones():
        raise EvergreenError(f"--timezone {options.timezone!r}: no time zone of this name; write one such as Europe/Berlin.")
    write.check_name(name)
    with source.reading(settings.source_url, options.timezone) as reader:
        relation = source.of_table(reader, place) if isinstance(place, str) else source.of_file(place)
        found, options = survey.survey(reader, relation, options, progress=say)
        plan = decide.decide(name, relation, found, options)
        template = write.template(folder, name, queries.FILES, force=force)  # a mistake in an option is told before
        training = measure.measure(reader, plan, progress=say)
        while leaking := leaks.certain(plan, training):  # a key of the content changes with what is read
            plan = plan.without(leaking)
            training = measure.again(reader, plan, training)
    files = {folder / "sql" / name / file: text for file, text in queries.files(plan).items()}
    if plan.time:
        files[folder / "sql" / name / "available_at.yaml"] = known.written(plan)
    text = parameters.written(template, write.PARAMS, plan, training)
    rows, share = expectations.read(settings.source_url, plan, training)
    config = params.parse(text, write.PARAMS)
    proposed, learnt_from = expectations.propose(rows, share, config)
    proposed, untrue = expectations.tried(proposed, rows, share, config)
    expected = expectations.written(plan.relation.described, proposed, learnt_from, plan.target_name)
    files[folder / "sql" / name / "expectations.yaml"] = expected
    files[folder / write.PARAMS] = text
    write.together(files)
    say(f"Written: {', '.join(str(path.relative_to(folder)) for path in files)}.\n\nDecided:")
    for line in report.decided(plan, found, training):
        say(f"  {line}")
    say("\nLook at these, and change the files where they are wrong:")
    for line in report.to_check(plan, found, [*plan.advice, *leaks.suspicious(plan, training), *untrue]):
        say(f"  {line}")
    say(
        "\nNext: `evergreen data pin`, `dvc repro`, `evergreen model publish`; then commit, "
        f"`evergreen deploy`, and retrain/{name} runs."
    )
