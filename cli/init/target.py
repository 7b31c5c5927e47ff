"""What is to be predicted: a column of two values, of which one is the positive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.init.columns import clean
from cli.init.names import quoted
from cli.init.profile import Column
from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import literal

UNKNOWN = -1  # a label that is none of the two values
LEAST = 50  # rows of either class: validate.min_positives of the template
# which of two is the positive, where nobody has to be asked
AFFIRMATIVE = ({"1", "0"}, {"1", "-1"}, {"yes", "no"}, {"y", "n"}, {"true", "false"}, {"t", "f"})
Values = Sequence[tuple[str | None, int]]


@dataclass(frozen=True)
class Target:
    """expression: 1, 0, UNKNOWN or NULL, over the source's columns. positive: as the table has it. Counts are of all rows."""

    source: str
    expression: str
    positive: str
    negative: str
    positives: int
    negatives: int
    absent: int

    @property
    def rate(self) -> float:
        return self.positives / (self.positives + self.negatives)


def value(column: Column) -> str:
    """The expression of a target's value, before it is compared."""
    return clean(column)[0] if column.kind in ("text", "number", "boolean") else f'"{column.name}"'


def folded(expression: str) -> str:
    """The same without regard to case, for a text that is written in several ways."""
    return f"lower({expression})"


def choose(column: Column, values: Values, expression: str, positive: str | None) -> Target:
    """The label of a column with these values.

    Raises:
        EvergreenError: it has not two values, nobody can tell which one is meant, or one of them is too rare to learn.
    """
    known, about = {text: rows for text, rows in values if text is not None}, f"--target {quoted(column.name)}"
    if column.kind not in ("text", "number", "boolean"):
        raise EvergreenError(f"{about} is of type {column.type}. Supported are two values: numbers, texts, true and false.")
    if len(known) > 2:
        raise EvergreenError(
            f"{about} has more than two values. Supported is a yes or no: two values, and NULL for what is not known yet. "
            "Make it one by --sql, such as `select *, plan = 'gold' as is_gold from crm.customers`."
        )
    if len(known) < 2:
        read = [word for word in column.spellings if word]
        nothing = f" Read as nothing known: {', '.join(read)}. If that is a value, name the column by --keep." if read else ""
        raise EvergreenError(f"{about} has {len(known)} value(s) in {sum(known.values()):,} rows: two are needed.{nothing}")
    chosen = _chosen(list(known), positive, about)
    (other,) = set(known) - {chosen}
    if min(known.values()) < LEAST:
        raise EvergreenError(
            f"{about}: {chosen!r} stands in {known[chosen]:,} rows and {other!r} in {known[other]:,}. At least {LEAST} of each "
            "are needed to learn and to judge anything: bring more rows."
        )
    # a third value, should one come, is kept as -1: the data gate stops at it, where a NULL would be rows lost in silence
    neither = f"case when {expression} is not null then {UNKNOWN} end"
    label = f"case {expression} when {literal(chosen)} then 1 when {literal(other)} then 0 else {neither} end"
    absent = sum(rows for text, rows in values if text is None)
    return Target(column.name, label, chosen, other, known[chosen], known[other], absent)


def _chosen(values: list[str], wanted: str | None, about: str) -> str:
    if wanted is not None:
        found = [text for text in values if _bare(text) == _bare(wanted)]
        if len(found) != 1:
            raise EvergreenError(f"--positive {wanted!r}: {about} has the values {values[0]!r} and {values[1]!r}.")
        return found[0]
    if {_bare(text) for text in values} in AFFIRMATIVE:
        return next(text for text in values if _bare(text) in {"1", "yes", "y", "true", "t"})
    raise EvergreenError(f"{about} has the values {values[0]!r} and {values[1]!r}: say which one is predicted by --positive.")


def _bare(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return text.strip().casefold()
