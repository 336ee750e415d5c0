"""The run history (Dagster's instance) that `fusc` shares with the `dagster` commands run in the same folder."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster import DagsterRunStatus

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.host.locks import exclusive
from fusc_pipeline.host.places import named_folder, why_unusable
from fusc_pipeline.operations import dagster_private

HOME, SETTINGS = "DAGSTER_HOME", "dagster.yaml"

GOING = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
"""Of a run that a process is at, or is about to be."""
UNFINISHED = [DagsterRunStatus.QUEUED, *GOING]
"""Of a run that will still do something: as GOING, and what the daemon will start."""


def history_folders() -> tuple[Path, Path]:
    """(folder of the run history, folder of its dagster.yaml), as `run_history` opens it; nothing is made.

    Raises BadSetting, with the variable or file, the fault and what to do, when the history could not be opened there.
    """
    given = os.environ.get(HOME)
    if not given:
        here = Path.cwd()
        if not (here / SETTINGS).is_file():
            raise BadSetting(
                f"no run history: {here} holds no {SETTINGS} and {HOME} is not set; run this in the project's "
                f"folder, or set {HOME} to a folder with a {SETTINGS}"
            )
        if why := _why_unusable(here / ".dagster_state"):
            raise BadSetting(f"no run history in {here}: {why}; set {HOME} to a folder that this user may write")
        _check_settings(here)
        return here / ".dagster_state", here
    home = named_folder(HOME, given)
    if why := _why_unusable(home):
        raise BadSetting(f"{HOME}={given}: {why}; set it to a folder that this user may write")
    # Dagster's own rules: every other command would refuse these.
    if not os.path.isabs(os.path.expanduser(given)):
        raise BadSetting(f"{HOME}={given}: it is no absolute path; set it to {home}")
    if not home.is_dir():
        raise BadSetting(f"{HOME}={given}: there is no such folder; correct it, or make the folder with a {SETTINGS}")
    _check_settings(home)
    return home, home


def _why_unusable(state: Path) -> str | None:
    places = (state, state / "history", state / "schedules")
    return next(filter(None, (why_unusable(place, write=True) for place in places)), None)


def _check_settings(folder: Path) -> None:
    """Raise BadSetting when Dagster would refuse the folder's dagster.yaml, or would keep the history in another place
    for each folder that a command is run in."""
    file = folder / SETTINGS
    if not file.is_file():
        return  # Dagster's defaults
    try:
        settings = dagster_private.instance_settings(folder)
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} cannot be read ({_short(error)}); mend it, or copy the project's again") from None
    except (dg.DagsterError, dagster_private.check_error()) as error:
        raise BadSetting(f"{file} is refused by Dagster ({_short(error)}); mend it") from None
    lost = [place for place in _base_folders(settings) if Path(place).absolute() != folder / place]
    if lost:
        raise BadSetting(
            f"{file}: base_dir {lost[0]!r} is relative, so that each folder a command is run in would have a history "
            f"of its own; write the whole path, e.g. {folder / lost[0]}"
        )


def _base_folders(settings: Mapping[str, Any]) -> Iterator[str]:
    """The folders that storages are given, at any depth."""
    for name, value in settings.items():
        if name == "base_dir" and isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _base_folders(value)


def _short(error: Exception) -> str:
    """An error in one line; Dagster's go on with all that would have been right."""
    text = " ".join(str(error).split())
    return text.split(" Expected: ")[0][:300] or type(error).__name__


@contextlib.contextmanager
def run_history() -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, else the one that `dagster.yaml` in the working folder describes.

    `dagster` itself reads that file but keeps the rest of its state in a folder that it removes at its end; here the
    rest goes beside the SQLite files. Raises BadSetting as `history_folders` does: also when there is neither, since
    nothing would be remembered.
    Several at once on a new folder take turns: Dagster makes its tables without a lock, and all but one would fail.
    """
    state, settings = history_folders()
    state.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        with _alone(state):
            instance = stack.enter_context(dagster_private.open_instance(state, settings))
            _make_tables(instance)
        yield instance


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a history that was never opened before; later openings need none."""
    opened = folder / ".opened"
    if opened.exists():
        yield
        return
    with exclusive(folder / ".opening.lock", "the first opening of the run history", poll=0.05):
        _mend_stamps(folder)
        yield
        opened.touch()


def _mend_stamps(folder: Path) -> None:
    """Make a history usable again that several `dagster` processes, which do not take turns, made at once.

    One of them takes the half-made tables of another for those of an old release and adds that release's stamp to the
    right one; from then on nobody can open it ("more than one head present").
    """
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        for path in (folder / name, Path(".dagster_state") / name):
            if not path.is_file():
                continue
            with contextlib.closing(sqlite3.connect(path, timeout=30)) as database, database:
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                    continue
                stamps = {stamp for (stamp,) in database.execute("SELECT version_num FROM alembic_version")}
                if len(stamps) > 1 and (first := dagster_private.first_stamp()) in stamps:
                    database.execute("DELETE FROM alembic_version WHERE version_num = ?", (first,))


def _make_tables(instance: dg.DagsterInstance) -> None:
    """Touch each storage: what is missing is made at its first use."""
    instance.get_runs(limit=1)
    instance.event_log_storage.get_maximum_record_id()
    if instance.schedule_storage is not None:
        instance.schedule_storage.all_instigator_state()
