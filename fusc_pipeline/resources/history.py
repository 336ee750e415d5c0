"""The run history (Dagster's instance) that `fusc` shares with the `dagster` commands run in the same folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.instance import InstanceRef

from fusc_pipeline.errors import BadSetting


@contextlib.contextmanager
def run_history() -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, else the one that `dagster.yaml` in the working folder describes.

    `dagster` itself reads that file but keeps the rest of its state in a folder that it removes at its end; here the
    rest goes beside the SQLite files. Raises BadSetting when there is neither, since nothing would be remembered.
    """
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
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
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(state), config_dir=str(here))) as instance:
        yield instance
