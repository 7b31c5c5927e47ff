"""`sql/<dataset>/available_at.yaml`: for each source table, what says when a row became known.

It stands beside the SQL and not in params.yaml, because it changes no model and no verdict: it only says what the SQL is
checked against, so no stage depends on it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pipelines.config.errors import EvergreenError


class Known(BaseModel):
    """What is known when, of one table. Dates are columns, or SQL expressions over the columns of a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    available_at: str | None = None  # on that day the row was known, and not before
    columns: dict[str, str] = {}  # columns that were filled in later than their row, and on which day: NULL until then
    timeless: str | None = None  # why the table needs no date: all of it was always known
    corrects: str | None = None  # why its rows may change how the past is seen: they count in features of earlier snapshots

    @model_validator(mode="after")
    def _says_when(self) -> Known:
        if not (self.available_at or "").strip() and not (self.timeless or "").strip():
            raise ValueError("write available_at with a column, or timeless with a reason")
        if self.timeless and (self.available_at or self.columns or self.corrects):
            raise ValueError("a timeless table has no available_at, columns or corrects")
        return self


def read(file: Path) -> dict[str, Known]:
    """schema.table -> what is known when; empty where there is no such file.

    Raises:
        EvergreenError: the file is not as it should be; with the table that is wrong.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not file.exists():
        return {}
    try:
        values = YAML(typ="safe").load(file.read_text(encoding="utf-8")) or {}
    except YAMLError as error:
        raise EvergreenError(f"{file} is not YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(values, dict):
        raise EvergreenError(f"{file}: one line a table is needed, such as telecom.invoices: recorded_at.")
    return {str(table): _known(file, str(table), value) for table, value in values.items()}


def _known(file: Path, table: str, value: object) -> Known:
    given = {"available_at": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise EvergreenError(f"{file}: {table}: {value!r} is neither a column nor {{timeless: why it needs none}}.")
    try:
        return Known.model_validate(given)
    except ValidationError as error:
        said = "; ".join(".".join(map(str, one["loc"])) + " " + one["msg"] for one in error.errors(include_url=False))
        raise EvergreenError(f"{file}: {table}: {said.strip()}.") from None
