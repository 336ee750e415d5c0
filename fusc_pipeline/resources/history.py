"""The run history (Dagster's instance) that `fusc` shares with the `dagster` commands run in the same folder."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.instance import InstanceRef
from dagster._core.storage.sqlite import LAST_KNOWN_STAMPED_SQLITE_ALEMBIC_REVISION

from fusc_pipeline.errors import BadSetting
from fusc_pipeline.locks import exclusive

GOING = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
"""Of a run that a process is at, or is about to be."""
UNFINISHED = [DagsterRunStatus.QUEUED, *GOING]
"""Of a run that will still do something: as GOING, and what the daemon will start."""


@contextlib.contextmanager
def run_history() -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, else the one that `dagster.yaml` in the working folder describes.

    `dagster` itself reads that file but keeps the rest of its state in a folder that it removes at its end; here the
    rest goes beside the SQLite files. Raises BadSetting when there is neither, since nothing would be remembered.
    Several at once on a new folder take turns: Dagster makes its tables without a lock, and all but one would fail.
    """
    if os.environ.get("DAGSTER_HOME"):
        with contextlib.ExitStack() as stack:
            with _alone(Path(os.environ["DAGSTER_HOME"])):
                instance = stack.enter_context(dg.DagsterInstance.get())
                _make_tables(instance)
            yield instance
        return
    here = Path.cwd()
    if not (here / "dagster.yaml").is_file():
        raise BadSetting(
            f"no run history: {here} holds no dagster.yaml and DAGSTER_HOME is not set; run this in the project's "
            "folder, or set DAGSTER_HOME to a folder with a dagster.yaml"
        )
    state = here / ".dagster_state"
    state.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        with _alone(state):
            found = InstanceRef.from_dir(str(state), config_dir=str(here))
            instance = stack.enter_context(dg.DagsterInstance.from_ref(found))
            _make_tables(instance)
        yield instance


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a history that was never opened before; later openings need none."""
    opened = folder / ".opened"
    if opened.exists() or not os.access(folder, os.W_OK):
        yield  # where DAGSTER_HOME is wrong, Dagster's own words say so
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
                if len(stamps) > 1 and LAST_KNOWN_STAMPED_SQLITE_ALEMBIC_REVISION in stamps:
                    old = (LAST_KNOWN_STAMPED_SQLITE_ALEMBIC_REVISION,)
                    database.execute("DELETE FROM alembic_version WHERE version_num = ?", old)


def _make_tables(instance: dg.DagsterInstance) -> None:
    """Touch each storage: what is missing is made at its first use."""
    instance.get_runs(limit=1)
    instance.event_log_storage.get_maximum_record_id()
    instance.schedule_storage.all_instigator_state()
