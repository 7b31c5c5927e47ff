"""`python -m examples.telecom`: the demo, its story, and the simulated company."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.app import main
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import load as load_settings

commands = typer.Typer(
    help="The demo, its story, and the simulated company.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@commands.command()
def demo(
    customers: Annotated[int, typer.Option(min=1000, max=2_000_000)] = 20_000,
    as_of: Annotated[str, typer.Option(help="the date to train as of")] = "2024-12-31",
) -> None:
    """From nothing to a champion: stack, data, deployments, first retraining, results in this clone, summary."""
    from examples.telecom import walkthrough

    walkthrough.run(load_settings(), customers=customers, as_of=as_of, say=typer.echo)


@commands.command()
def story(
    start: Annotated[str, typer.Option(help="first day, YYYY-MM-DD")] = "2025-01-01",
    end: Annotated[str, typer.Option(help="last day; windows that have not ended by then are left out")] = "2025-12-31",
) -> None:
    """After the demo: the year that follows, scored and judged window by window, with the retraining that it leads to."""
    from examples.telecom import walkthrough

    walkthrough.story(load_settings(), start=start, end=end, say=typer.echo)


@commands.command()
def simulate(
    customers: Annotated[int, typer.Option(min=100, max=2_000_000)] = 20_000,
    months: Annotated[int, typer.Option(min=1, max=24)] = 24,
    seed: int = 7,
    without: Annotated[list[str] | None, typer.Option(help="a planted shift to leave out; may be repeated")] = None,
) -> None:
    """Load the simulated telecom company into the source database."""
    from examples.telecom import load as demo

    unknown = sorted(set(without or []) - demo.ALL_SHIFTS)
    if unknown:
        raise EvergreenError(f"--without {', '.join(unknown)}: no such shift. Known: {', '.join(sorted(demo.ALL_SHIFTS))}.")
    shifts = demo.ALL_SHIFTS - set(without or [])
    demo.load_demo(load_settings().load_url, customers=customers, months=months, seed=seed, shifts=shifts, say=typer.echo)


@commands.command()
def oracle(
    rows: Annotated[Path, typer.Option(help="Parquet with customer_id, snapshot_date and churned")] = Path(
        "data/training.parquet"
    ),
) -> None:
    """Print the best ROC-AUC that anybody could reach on rows of the simulated company: its own probabilities'."""
    from examples.telecom import walkthrough

    typer.echo(walkthrough.oracle(load_settings(), rows))


if __name__ == "__main__":
    main(commands)
