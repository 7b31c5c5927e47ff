"""`evergreen model compare A B`: two versions side by side, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.decisions import move
from flows import facts
from flows.facts import Facts
from monitoring.reference import newest_metrics
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.evaluation.evaluate import HEADLINES
from pipelines.registry import ledger, tenures

NOT_PARAMS = ("data.as_of", "data.fingerprint")  # they are the data's


def compare(settings: Settings, model: str, numbers: Sequence[int]) -> dict[str, list[str]]:
    """Title -> lines: decisions, figures, rows, columns, candidates, params, size and speed of two versions.

    Raises:
        EvergreenError: there is no such version, it is named twice, or its bundle cannot be had.
    """
    if len(set(numbers)) < len(numbers):
        raise EvergreenError(f"v{numbers[0]} is named twice: name two versions. `evergreen model history` lists them.")
    url = settings.promoter_url
    both = [Facts.of(settings, ledger.version(url, model, number)) for number in numbers]
    past, decisions = tenures.read(url, model), ledger.history(url, model)
    return {
        f"{model} {both[0].version} and {both[1].version}": [],
        "champion": [_tenures(side, past) for side in both],
        "judged": list(_judged(both, decisions)),
        "figures out of fold, each one's own rows": list(_figures(both)),
        "rows": list(_rows(both)),
        "columns that the model reads": list(_columns(both)),
        "candidates": [_candidates(side) for side in both],
        "params that differ": list(_params(both)),
        "size and speed": list(_sizes(both)),
    }


def text(sections: Mapping[str, Sequence[str]]) -> str:
    """For a terminal."""
    return "\n\n".join("\n".join([title, *(f"  {line}".rstrip() for line in lines)]) for title, lines in sections.items())


def _tenures(side: Facts, past: Sequence[tenures.Tenure]) -> str:
    tenures_of = [tenure for tenure in past if tenure.version == side.version.version]
    times = [
        f"{tenure.since:%Y-%m-%d %H:%M} to " + (f"{tenure.until:%Y-%m-%d %H:%M}" if tenure.until else "now")
        for tenure in tenures_of
    ]
    return f"{side.version!s:<4} published {side.version.created_at:%Y-%m-%d %H:%M}; " + (
        f"champion {', '.join(times)}" if times else "never champion"
    )


def _judged(both: Sequence[Facts], decisions: Sequence[ledger.Promotion]) -> Iterator[str]:
    """What was decided when one of the two stood against the other."""
    pair = {side.version.version for side in both}
    between = [row for row in decisions if {row.from_version, row.to_version} == pair]
    for row in reversed(between):
        yield f"{row.created_at:%Y-%m-%d %H:%M}  {move(row)}  {row.reason}"
    if not between:
        yield "never against one another: the figures below are of different rows, and no test says which is better"


def _figures(both: Sequence[Facts]) -> Iterator[str]:
    """Of the ledger's own rows, which outlive every bundle; the newest snapshots first."""
    all_of = [side.version.metrics for side in both]
    names = [name for name in dict.fromkeys([*all_of[0], *all_of[1]]) if not name.endswith((".low", ".high"))]
    yield f"{'':<26}" + "".join(f"{side.version!s:<30}" for side in both)
    order = {name: place for place, name in enumerate([*(f"newest.{name}" for name in HEADLINES), *HEADLINES])}
    for name in sorted(names, key=lambda name: order.get(name, len(order))):
        yield f"{name:<26}" + "".join(f"{_figure(metrics, name):<30}" for metrics in all_of)


def _figure(metrics: dict[str, float], name: str) -> str:
    if name not in metrics:
        return "none"
    low, high = metrics.get(f"{name}.low"), metrics.get(f"{name}.high")
    return f"{metrics[name]:.4f}" + ("" if low is None or high is None else f" [{low:.4f}, {high:.4f}]")


def _rows(both: Sequence[Facts]) -> Iterator[str]:
    for title, key in (("as of", "as_of"), ("rows", "rows"), ("fingerprint", "fingerprint"), ("SQL", "sql_sha256")):
        values = [f"{side.data[key]:,}" if key == "rows" else str(side.data[key])[:28] for side in both]
        yield _line(title, values)
    judged = [f"{side.evaluation['rows']:,} ({side.evaluation['positives']:,} positive)" for side in both]
    yield _line("judged", judged)
    yield from _changes(both[0].data["columns"], both[1].data["columns"], "column")


def _columns(both: Sequence[Facts]) -> Iterator[str]:
    kinds: list[dict[str, Any]] = [
        {**dict.fromkeys(side.schema["numbers"], "number"), **dict.fromkeys(side.schema["categories"], "category")}
        for side in both
    ]
    yield _line("how many", [str(len(kind)) for kind in kinds])
    first, second = kinds
    yield from _changes(first, second, "column")


def _candidates(side: Facts) -> str:
    metric = side.evaluation["metric"]
    points = {name: newest_metrics(figures)[metric]["point"] for name, figures in side.evaluation["candidates"].items()}
    listed = ", ".join(f"{name} {point:.4f}" for name, point in points.items())
    return f"{side.version!s:<4} {side.manifest['candidate']}; of {metric}: {listed}"


def _params(both: Sequence[Facts]) -> Iterator[str]:
    both_params = [side.params for side in both]
    for side, values in zip(both, both_params, strict=True):
        if values is None:
            yield f"{side.version} was made in another clone; its ref is not here: git fetch CLONE {side.version.git_ref}"
    if both_params[0] is not None and both_params[1] is not None:
        first, second = (
            {key: value for key, value in side.items() if key not in NOT_PARAMS} for side in both_params if side is not None
        )
        yield from _changes(first, second, "key")


def _changes(first: dict[str, Any], second: dict[str, Any], kind: str) -> Iterator[str]:
    """What two mappings differ in; of keys that both have, from -> to."""
    differing = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
    for key in differing:
        yield f"{key}: {first.get(key, 'none')} -> {second.get(key, 'none')}"
    if not differing:
        yield f"no {kind} differs"


def _sizes(both: Sequence[Facts]) -> Iterator[str]:
    yield _line("ONNX file", [f"{side.graph_bytes / 1024:,.0f} KiB" for side in both])
    spent = [f"{1e6 * side:.0f} us" if side else "no sample to score" for side in facts.latencies(both)]
    yield _line("one row", [f"{text}, here and now" for text in spent])


def _line(title: str, values: Sequence[str]) -> str:
    return f"{title:<20}" + "".join(f"{value:<30}" for value in values)
