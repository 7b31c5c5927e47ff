"""Trials that several processes share, through Optuna's storage in schema `optuna` of our Postgres.

It only hands trials out: each is claimed by one process, and what that finds is what any other would have found. The
leader works along, and takes over what others have claimed and not finished: a helper that dies costs time alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import stage
from pipelines.errors import EvergreenError, TransientError
from pipelines.fitting.study import STATES, distributions
from pipelines.fitting.trials import Outcome, Run, Trial, evaluate

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from pipelines.candidates import CandidateParams
    from pipelines.fitting.folds import CrossValidation

SCHEMA = "optuna"
POLL_S = 0.2
START_S = 30.0  # how long a helper waits for a study to begin: it may have come too late
IDLE_S = 600.0  # and for a trial in one that has: its leader may be dead


@contextmanager
def lead(name: str, validation: CrossValidation, section: CandidateParams) -> Iterator[Run]:
    """A study of this name, in which helpers may take part while the block lasts; gives what runs a generation.

    One that a killed leader left under the name is replaced.

    Raises:
        TransientError: our Postgres went away.
    """
    from optuna.study import StudyDirection

    with _storage() as storage:
        _delete(storage, name)
        study = storage.create_new_study([StudyDirection.MAXIMIZE], name)
        storage.set_study_user_attr(study, "of", _of(validation, section))
        try:
            yield _Leader(storage, study, validation, section).run
        finally:
            _delete(storage, name)


class _Leader:
    def __init__(self, storage: RDBStorage, study: int, validation: CrossValidation, section: CandidateParams) -> None:
        self._storage, self._study, self._validation, self._section = storage, study, validation, section
        self._longest = 0.0  # seconds of the longest trial here: how long others are waited for

    def run(self, trials: list[Trial], ends: float) -> list[Outcome]:
        """A generation's outcomes, whoever found them; without the last ones when it is past `ends`."""
        ids = {trial.number: self._offer(trial) for trial in trials}
        here: dict[int, Outcome] = {}
        for trial in trials:
            if trial.number and time.monotonic() > ends:
                break
            if _claim(self._storage, ids[trial.number]):
                here[trial.number] = self._evaluate(trial, ids[trial.number])
        patience = time.monotonic() + self._longest
        outcomes = []
        for trial in trials:
            if trial.number not in here and not self._wait(ids[trial.number], min(patience, ends)):
                if trial.number and time.monotonic() > ends:
                    break
                stage.say(f"trial {trial.number} was claimed and is not finished: it is taken over")
                here[trial.number] = self._evaluate(trial, ids[trial.number])
            outcomes.append(here.get(trial.number) or _outcome(self._storage.get_trial(ids[trial.number])))
        return outcomes

    def _offer(self, trial: Trial) -> int:
        import optuna
        from optuna.trial import TrialState

        space = distributions(self._section)
        offered = optuna.create_trial(
            state=TrialState.WAITING, params=trial.values, distributions=space, user_attrs={"bars": trial.bars}
        )
        return self._storage.create_new_trial(self._study, offered)

    def _evaluate(self, trial: Trial, trial_id: int) -> Outcome:
        """The trial's outcome, found here unless somebody else is done with it first."""
        began = time.monotonic()
        found = evaluate(self._validation, self._section, trial, lambda: self._finished(trial_id))
        self._longest = max(self._longest, time.monotonic() - began)
        if found is None:
            return _outcome(self._storage.get_trial(trial_id))
        _report(self._storage, trial_id, found)
        return found

    def _finished(self, trial_id: int) -> bool:
        return self._storage.get_trial(trial_id).state.is_finished()

    def _wait(self, trial_id: int, until: float) -> bool:
        """Whether somebody else finishes the trial in time."""
        while not self._finished(trial_id):
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)
        return True


def help_out(
    name: str, validation: CrossValidation, section: CandidateParams, start_s: float = START_S, idle_s: float = IDLE_S
) -> int:
    """Evaluate trials of a leader's study until it is gone; how many were evaluated.

    It does not wait for ever: `start_s` for the study, and `idle_s` for a trial in it. The last trial offered is
    claimed first: the leader begins with the first.

    Raises:
        EvergreenError: the leader has other rows, folds or params: its values would not be these.
    """
    count, seen, since = 0, False, time.monotonic()
    with _storage() as storage:
        while time.monotonic() - since < (idle_s if seen else start_s):
            with suppress(KeyError):  # the study, or the trial with it, is gone: the leader is done
                study = storage.get_study_id_from_name(name)
                theirs = storage.get_study_user_attrs(study)["of"]
                seen = True
                _check_same(theirs, _of(validation, section), name)
                claimed = _claim_last(storage, study)
                if claimed is not None:
                    count += _help_with(storage, claimed, validation, section)
                    since = time.monotonic()
                else:
                    time.sleep(POLL_S)
                continue
            if seen:
                break
            time.sleep(POLL_S)
    stage.say(f"helped with {count} trials of {name}")
    return count


def _claim_last(storage: RDBStorage, study: int) -> FrozenTrial | None:
    from optuna.trial import TrialState

    for waiting in reversed(storage.get_all_trials(study, states=(TrialState.WAITING,))):
        if _claim(storage, storage.get_trial_id_from_study_id_trial_number(study, waiting.number)):
            return waiting
    return None


def _help_with(storage: RDBStorage, claimed: FrozenTrial, validation: CrossValidation, section: CandidateParams) -> int:
    """1 if a claimed trial was evaluated to its end here, 0 if the leader took it over meanwhile."""
    trial_id = claimed._trial_id
    trial = Trial(claimed.number, dict(claimed.params), claimed.user_attrs["bars"])
    stage.fault("tune:claimed")
    found = evaluate(validation, section, trial, lambda: storage.get_trial(trial_id).state.is_finished())
    return int(found is not None and _report(storage, trial_id, found))


def _claim(storage: RDBStorage, trial_id: int) -> bool:
    """Whether the trial is now this process's to evaluate: of several that try, one gets it."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        return storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return False


def _report(storage: RDBStorage, trial_id: int, found: Outcome) -> bool:
    """Write an outcome down; False when somebody else was first, with the same."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        for number, value in enumerate(found.folds):
            storage.set_trial_intermediate_value(trial_id, number, value)
        values = [found.value] if found.state == "COMPLETE" else None
        storage.set_trial_state_values(trial_id, TrialState[STATES[found.state]], values)
    except UpdateFinishedTrialError:
        return False
    return True


def _outcome(trial: FrozenTrial) -> Outcome:
    """What another process wrote down."""
    state = next(ours for ours, theirs in STATES.items() if theirs == trial.state.name)
    return Outcome(state, [trial.intermediate_values[number] for number in sorted(trial.intermediate_values)])


def _of(validation: CrossValidation, section: CandidateParams) -> str:
    """What a trial's values depend on besides the trial."""
    search = {name: value if isinstance(value, list) else value.model_dump() for name, value in section.search.items()}
    parts = (validation.fitter.candidate.__name__, validation.fitter.key(validation.rows, section), validation.folds)
    return " ".join(map(str, (*parts, validation.metric, search)))


def _check_same(theirs: str, ours: str, name: str) -> None:
    if theirs != ours:
        raise EvergreenError(
            f"The leader of {name} tunes other rows or params than are here: nothing was evaluated. "
            "Bring this workspace to the leader's commit and data."
        )


def _delete(storage: RDBStorage, name: str) -> None:
    with suppress(KeyError):
        storage.delete_study(storage.get_study_id_from_name(name))


@contextmanager
def _storage() -> Iterator[RDBStorage]:
    """Optuna's storage in schema `optuna` of our database, made where it is missing.

    Raises:
        TransientError: the database went away; nothing depends on what it held.
    """
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from pipelines import postgres
    from pipelines.settings import Settings

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = Settings.load_from(Path.cwd(), os.environ).promoter_url
    arguments = {"options": f"-c search_path={SCHEMA}", "connect_timeout": 10, "application_name": "evergreen"}
    try:
        with postgres.connect(url) as connection:  # one makes the tables at a time
            connection.execute("select pg_advisory_lock(hashtextextended('evergreen/optuna', 0))")
            if connection.execute("select to_regnamespace(%s)", [SCHEMA]).fetchone() == (None,):
                connection.execute(f"create schema {SCHEMA}")  # a right that who trains need not have where it is there
            connection.commit()
            storage = optuna.storages.RDBStorage(url, {"connect_args": arguments, "pool_pre_ping": True})
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (StorageInternalError, SQLAlchemyError) as error:
        raise TransientError(
            f"The trials that several processes share are out of reach ({type(error).__name__}). "
            "Check that Postgres runs (`evergreen status`) and try again: the result does not depend on it."
        ) from None
