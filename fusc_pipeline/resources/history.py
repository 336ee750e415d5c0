"""The run history (Dagster's instance) that `fusc` shares with the `dagster` commands run in the same folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.instance import InstanceRef

from fusc_pipeline.errors import BadSetting
from fusc_pipeline.locks import exclusive


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
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield  # Dagster's own words say what is wrong with DAGSTER_HOME
        return
    with exclusive(folder / ".opening.lock", "the opening of the run history", poll=0.05):
        yield


def _make_tables(instance: dg.DagsterInstance) -> None:
    """Touch each storage: what is missing is made at its first use."""
    instance.get_runs(limit=1)
    instance.event_log_storage.get_maximum_record_id()
    instance.schedule_storage.all_instigator_state()
