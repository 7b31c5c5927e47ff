"""`params.yaml`, typed: every value that can change a model or a verdict.

Each section belongs to the module of the same name, which takes its own section and never the bag.
A candidate's section is typed by the candidate's own module (`Params` in pipelines/training/candidates/<name>.py).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, StrictInt, ValidationError, field_validator, model_validator

from pipelines.config.errors import EvergreenError
from pipelines.config.sections import CandidateParams, Section

Share = Annotated[float, Field(gt=0, lt=1)]
NAME = r"^[a-z][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME)]
POOLS = ("cpu", "gpu")  # what Prefect's work pools are called
TIMELESS = "timeless"  # the pin of a table that has no clock


class DataParams(Section):
    """What the rows are, and the pin that says which of them."""

    dataset: Name
    as_of: date | Literal["timeless"] | None
    fingerprint: str | None
    entity: str
    row_key: str | None = None
    time: str | None
    target: str
    protected: list[str]
    personal: list[str]
    history_days: Annotated[int, Field(ge=0)]
    horizon_days: Annotated[int, Field(ge=0)]
    embargo_days: Annotated[int, Field(ge=0)]
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        """Names as of the IANA database, which Python and Postgres share."""
        if name not in available_timezones():
            raise ValueError("no time zone of this name: write one such as UTC or Europe/Berlin")
        return name

    @model_validator(mode="after")
    def _nobody_is_a_group(self) -> DataParams:
        """The groups of an attribute stand on pages, and what names a person may not."""
        if conflicting := sorted({*self.personal} & {*self.protected}):
            raise ValueError(
                f"{', '.join(conflicting)} cannot be both protected, which shows its values, and personal, which hides them"
            )
        return self

    @model_validator(mode="after")
    def _row_key_is_for_no_clock(self) -> DataParams:
        if self.row_key and (self.time or self.row_key == self.entity):
            raise ValueError(
                f"row_key {self.row_key} names a row where an entity has several and there is no clock: leave it null where "
                "time is set, or where the entity itself names the row"
            )
        return self

    @property
    def key_columns(self) -> list[str]:
        """Columns that name a row: the entity, and the snapshot or the row's own key where there is one."""
        return [self.entity, *filter(None, [self.time or self.row_key])]

    @property
    def scored_key(self) -> str:
        """The column by which scores and outcomes are kept, each value once a day: the row's own key, or the entity."""
        return self.row_key or self.entity

    @property
    def hidden(self) -> set[str]:
        """Columns that no model learns from and no page shows: what names a row or a person, and the answer."""
        return {*self.key_columns, self.target, *self.personal}

    @property
    def binds(self) -> dict[str, Any]:
        """Values that the SQL files bind."""
        as_of = None if self.as_of == TIMELESS else self.as_of
        return {
            "as_of": as_of,
            "history_days": self.history_days,
            "horizon_days": self.horizon_days,
            "embargo_days": self.embargo_days,
        }


class ValidateParams(Section):
    min_rows: Annotated[int, Field(ge=1)]
    min_positives: Annotated[int, Field(ge=1)]
    max_rows_checked: Annotated[int, Field(ge=1000)]
    # what a params.yaml of earlier days has not
    min_newest_rows: Annotated[int, Field(ge=1)] = 100
    missing_rise: Share = 0.1
    range_spare: Annotated[float, Field(ge=0)] = 0.25
    unknown_share: Share = 0.05
    level_factor: Annotated[float, Field(gt=1)] = 3.0
    max_constant_rise: Share = 0.5
    snapshot_volume_factor: Annotated[float, Field(gt=1)] = 1.5
    rate_factor: Annotated[float, Field(gt=1)] = 3.0


class SplitParams(Section):
    salt: str
    folds: Annotated[int, Field(ge=2, le=20)]


class RecencyParams(Section):
    """Since when the world is as it is now: pipelines/training/recency.py says what each value does."""

    snapshots: list[Annotated[int, Field(ge=1)]] = [1, 2, 4]
    rows: Annotated[int, Field(ge=100)] = 100_000


class LeakageParams(Section):
    """What may not be learnt from, and what may all the same: pipelines/validation/leakage.py says what each value does."""

    max_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    suspicious_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.97  # 1 looks for nothing
    min_missing: Annotated[int, Field(ge=1)] = 50
    max_copies: Annotated[float, Field(gt=0, le=1)] = 0.05  # 1 where rows are meant to be alike
    max_separation: Annotated[float, Field(gt=0.5, le=1)] = 0.8
    ages: list[str] = []
    available_after: list[str] = []
    allowed: dict[str, Annotated[str, Field(min_length=10)]] = {}


class TextRules(Section):
    """How the SQL of the dataset reads texts, so that whatever scores reads them so as well (pipelines/features.py).

    missing: column -> texts that mean nothing, as they are once blanks are taken off and letters are small.
    """

    trim: bool = False  # blanks around a text
    lower: bool = False
    missing: dict[str, list[str]] = {}


class FeaturesParams(Section):
    texts: TextRules = TextRules()
    exclude: list[str]
    min_category_rows: Annotated[int, Field(ge=1)]
    max_categories: Annotated[int, Field(ge=1)]


class TrainParams(Section):
    serve: Literal["mean", "refit"] = "mean"
    seed: int
    threads: Annotated[int, Field(ge=1)]
    explain_rows: Annotated[int, Field(ge=10)]
    calibrations: Annotated[list[Literal["none", "platt", "isotonic"]], Field(min_length=1)]


class TuneParams(Section):
    trials: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(gt=0)]
    generation: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=100)]


class EnsembleParams(Section):
    rounds: Annotated[int, Field(ge=0)]


class EvaluateParams(Section):
    metric: Literal["roc_auc", "pr_auc"]
    newest_snapshots: Annotated[int, Field(ge=1)] = 1
    newest_positives: Annotated[int, Field(ge=1)] = 200
    origins: Annotated[int, Field(ge=2)] = 3
    simplest_within: Annotated[float, Field(ge=0)] = 1.0
    bootstrap: Annotated[int, Field(ge=100)]
    confidence: Share
    seed: int
    cost_false_negative: Annotated[float, Field(gt=0)]
    cost_false_positive: Annotated[float, Field(gt=0)]
    capacity: Annotated[StrictInt, Field(ge=1)] | Share | None = None  # pipelines/evaluation/capacity.py says what it does
    threshold: Literal["cost", "capacity"] = "cost"

    @model_validator(mode="after")
    def _knows_its_capacity(self) -> EvaluateParams:
        if self.threshold == "capacity" and self.capacity is None:
            raise ValueError("threshold: capacity asks for evaluate.capacity: say how many can be acted on")
        return self


class AuditParams(Section):
    min_rows: Annotated[int, Field(ge=1)]
    min_positives: Annotated[int, Field(ge=1)]
    report_rows: Annotated[int, Field(ge=100)]
    max_tpr_shortfall: Share | None
    max_fpr_excess: Share | None
    max_underestimation: Share | None
    accepted: dict[str, Annotated[str, Field(min_length=10)]] = {}

    @model_validator(mode="after")
    def _names_groups(self) -> AuditParams:
        if wrong := [line for line in self.accepted if ": " not in line]:
            raise ValueError(f"accepted: {', '.join(wrong)}: a line names a group as the bias report does, 'attribute: group'")
        return self


class PromotionParams(Section):
    """How a challenger is judged: pipelines/promotion/comparison.py says what each value does."""

    mode: Literal["auto", "review"]
    review_hours: Annotated[float, Field(gt=0)]
    metric: Literal["cost", "roc_auc", "pr_auc", "log_loss", "brier", "precision_at_capacity", "recall_at_capacity"] = "cost"
    min_effect: Annotated[float, Field(ge=0)]
    max_auc_loss: Share
    max_cost_loss: Share
    max_calibration_error: Share
    max_calibration_loss: Share
    max_latency_factor: Annotated[float, Field(ge=1)]
    latency_allowance_us: Annotated[float, Field(ge=0)]
    batch_allowance_us: Annotated[float, Field(ge=0)]
    max_tpr_loss: Share | None
    max_fpr_gain: Share | None


class ServingParams(Section):
    """How the API answers: serving/ says what each value does."""

    tiers: Annotated[dict[Name, Annotated[float, Field(ge=0)]], Field(min_length=1)]
    max_rows: Annotated[int, Field(ge=1)]
    explain_rows: Annotated[int, Field(ge=10)]
    explain_permutations: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _covers_every_score(self) -> ServingParams:
        starts = list(self.tiers.values())
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"tiers begin at {starts}: the first one at 0, and each later one higher")
        return self


class MonitorParams(Section):
    """How a window is judged: monitoring/{windows,histograms,quiet,feed,performance,decide}.py say what each value does."""

    window: Literal["day", "week", "month"]
    snapshot_policy: Literal["latest", "every"]
    history: Annotated[int, Field(ge=1)]
    revisit: Annotated[int, Field(ge=0)]
    keep_reports: Annotated[int, Field(ge=1)]
    max_rows_judged: Annotated[int, Field(ge=1000)]
    bins: Annotated[int, Field(ge=2)]
    per_unit_columns: dict[str, str]
    non_stationary_columns: list[str]
    min_rows: Annotated[int, Field(ge=1)]
    min_positives: Annotated[int, Field(ge=1)]
    min_baseline_windows: Annotated[int, Field(ge=6)]
    prior_windows: Annotated[float, Field(ge=0)]
    alpha: Share
    alarm_count: Annotated[int, Field(ge=1, le=2)]
    alarm_span: Annotated[int, Field(ge=1)]
    rebaseline_after: Annotated[int, Field(ge=1)]
    volume_factor: Annotated[float, Field(gt=1)]
    max_age_days: Annotated[int, Field(ge=0)]
    missing_rise: Share
    unknown_rise: Share
    outside_rise: Share
    unit_factor: Annotated[float, Field(gt=1)]
    max_loss: Annotated[float, Field(ge=0)]
    cooldown_days: Annotated[int, Field(ge=0)]
    retrainings_a_month: Annotated[int, Field(ge=0)]
    # what a params.yaml of earlier days has not
    quarantine_windows: Annotated[int, Field(ge=1)] = 3
    escalate: Literal["retrain", "review"] = "retrain"


class GcParams(Section):
    """What `evergreen store gc` keeps, and for how long: flows/garbage.py says what each value is about."""

    rollback_versions: Annotated[int, Field(ge=1)]
    newest_versions: Annotated[int, Field(ge=0)]
    workspace_days: Annotated[float, Field(ge=0)]
    cache_days: Annotated[float, Field(ge=0)]
    run_days: Annotated[float, Field(ge=0)]
    report_days: Annotated[float, Field(ge=0)]
    superseded_days: Annotated[float, Field(ge=0)]


class Params(Section):
    """The whole file."""

    model: Name
    owner: str
    data: DataParams
    validate_: ValidateParams = Field(alias="validate")
    split: SplitParams
    leakage: LeakageParams = LeakageParams()
    features: FeaturesParams
    recency: RecencyParams = RecencyParams()
    train: TrainParams
    tune: TuneParams
    candidates: dict[str, Any]
    ensemble: EnsembleParams
    evaluate: EvaluateParams
    audit: AuditParams
    promotion: PromotionParams
    monitor: MonitorParams
    serving: ServingParams
    gc: GcParams | None = None  # a params.yaml of earlier days has none

    @model_validator(mode="after")
    def _judges_by_a_capacity_that_there_is(self) -> Params:
        if self.promotion.metric.endswith("_at_capacity") and self.evaluate.capacity is None:
            raise ValueError(
                f"promotion.metric: {self.promotion.metric} asks for evaluate.capacity: say how many can be acted on"
            )
        return self

    @property
    def enabled(self) -> list[str]:
        """Names of the candidates to train; the values in params.yaml are their pools."""
        return list(self.candidates["enabled"])

    def candidate(self, name: str) -> CandidateParams:
        """The section of one candidate, typed by the candidate's own module."""
        return _candidate_section(name, self.candidates.get(name, {}))


def read(path: Path = Path("params.yaml")) -> Params:
    """`params.yaml` of the current folder, checked as a whole.

    Raises:
        EvergreenError: the file is missing or not YAML, or a key is unknown, missing or out of its range;
            each such key is named with what was found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EvergreenError(f"{path} is missing: run this in the project's folder.") from None
    params = parse(text, str(path))
    _check_candidates(params)
    return params


def parse(text: str, source: str) -> Params:
    """The text of a `params.yaml`, all of it checked but the candidates' own sections."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return Params.model_validate(YAML(typ="safe").load(text))
    except YAMLError as error:
        raise EvergreenError(f"{source} is not YAML: {error}") from None
    except ValidationError as error:
        raise EvergreenError(_explain(source, error)) from None


def parse_data(text: str, source: str) -> DataParams:
    """The section `data` of a params.yaml, which may be of earlier days: the sections beside it are not looked at."""
    from ruamel.yaml import YAML

    try:
        return DataParams.model_validate({"personal": []} | YAML(typ="safe").load(text)["data"])
    except ValidationError as error:
        raise EvergreenError(_explain(source, error, prefix="data.")) from None


def write_pin(path: Path, as_of: str, fingerprint: str) -> None:
    """Set the pin in `params.yaml`, leaving every other line and comment as it is."""
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    from pipelines.config.stage import write_text

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 10**9  # a line of a person's, or of init's, stays one
    yaml.Representer = type("WithNull", (RoundTripRepresenter,), {})  # adding to the class itself would change it for all
    yaml.representer.add_representer(type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null"))
    values = yaml.load(path)
    # quoted, because DVC cannot read bare dates
    values["data"]["as_of"] = DoubleQuotedScalarString(as_of)
    values["data"]["fingerprint"] = DoubleQuotedScalarString(fingerprint)
    text = StringIO()
    yaml.dump(values, text)
    write_text(path, text.getvalue())


def _check_candidates(params: Params) -> None:
    """Every candidate's section belongs to a module, and every enabled name has both."""
    enabled = params.candidates.get("enabled")
    if not isinstance(enabled, dict) or not enabled:
        raise EvergreenError("params.yaml: candidates.enabled is empty: name one with its pool, such as {linear: cpu}.")
    if unknown := {name: pool for name, pool in enabled.items() if pool not in POOLS}:
        raise EvergreenError(f"params.yaml: candidates.enabled: {unknown}: the pools are {' and '.join(POOLS)}.")
    for name in [*enabled, *(key for key in params.candidates if key != "enabled")]:
        params.candidate(name)


def _candidate_section(name: str, values: dict[str, Any]) -> CandidateParams:
    import importlib

    try:
        module = importlib.import_module(f"pipelines.training.candidates.{name}")
    except ModuleNotFoundError:
        names = sorted(path.stem for path in (Path(__file__).parents[1] / "training" / "candidates").glob("[a-z]*.py"))
        raise EvergreenError(
            f"params.yaml: candidates.{name} has no module pipelines/training/candidates/{name}.py. Known: {', '.join(names)}."
        ) from None
    try:
        return module.Params.model_validate(values)
    except ValidationError as error:
        raise EvergreenError(_explain("params.yaml", error, prefix=f"candidates.{name}.")) from None


def _explain(source: str, error: ValidationError, prefix: str = "") -> str:
    """One line a wrong key: where, what is wrong, and what stands there."""
    lines = []
    for item in error.errors(include_url=False):
        key = prefix + ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"  {key}: no such key. Check its spelling, or delete it.")
        elif item["type"] == "missing":
            lines.append(f"  {key}: missing. Give it a value.")
        else:
            lines.append(f"  {key}: {item['msg']}, found {item['input']!r}.")
    return f"{source} is not usable:\n" + "\n".join(lines)
