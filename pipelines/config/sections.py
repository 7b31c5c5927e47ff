"""What sections of params.yaml are made of, and where tuning may look for better values of a candidate's."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Choices = Annotated[list[bool | int | float | str], Field(min_length=2)]
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


class Section(BaseModel):
    """A part of `params.yaml`: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Section):
    """Values from `low` to `high`, both included; `log`: each factor is as likely as any other.

    Written as `4 to 40` or `0.02 to 0.12, log`.
    """

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(rf"({NUMBER}) to ({NUMBER})(, log)?", value)
        if not match:
            raise ValueError(f"{value!r} is no range: write `LOW to HIGH`, or `LOW to HIGH, log`")
        low, high = (int(end) if re.fullmatch(r"-?\d+", end) else float(end) for end in match.groups()[:2])
        return {"low": low, "high": high, "log": bool(match[3])}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}: low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}: with log it must be above 0")
        return self


class CandidateParams(Section):
    """A candidate's section: its values, and in `search` where tuning may look for better ones."""

    search: dict[str, Range | Choices] = Field(default={}, exclude=True)  # no part of model_dump: it fits nothing

    def with_values(self, values: dict[str, Any]) -> Self:
        """The same section with some values changed, checked again."""
        return type(self).model_validate({**self.model_dump(), **values})

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        """Every name is a key, every end of a range could stand in its place, and what stands there is within."""
        for name, searched in self.search.items():
            if name == "search" or name not in type(self).model_fields:
                raise ValueError(f"search.{name}: no such key. Check its spelling, or delete it")
            for value in searched if isinstance(searched, list) else (searched.low, searched.high):
                try:
                    self.with_values({name: value})
                except ValidationError as error:
                    raise ValueError(f"search.{name}: {value!r} cannot be tried: {error.errors()[0]['msg']}") from None
            stands = getattr(self, name)
            if not (stands in searched if isinstance(searched, list) else searched.low <= stands <= searched.high):
                raise ValueError(f"search.{name}: {name} is {stands!r}, outside of it. Widen the range: {name} is tried first")
        return self
