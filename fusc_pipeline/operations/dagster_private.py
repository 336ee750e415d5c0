"""Everything of Dagster that is used here and that Dagster does not promise to keep: its names start with `_`.

One place to look at when a new version of Dagster is tried; what each entry would break stands beside it. Checked with
1.13; the modules are imported when they are called, since the webserver is an extra.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

CODE_SERVER_LOG_LEVEL = "warning"
# As `dagster-webserver` has them: milliseconds, seconds, connections; milliseconds between the UI's questions.
_STATEMENT_TIMEOUT, _POOL_RECYCLE, _POOL_OVERFLOW, _POLL = 15_000, 3_600, 20, 2_000


def instance_settings(folder: Path) -> Mapping[str, Any]:
    """The settings of the folder's dagster.yaml, as Dagster checks them. Raises what Dagster raises, `check_error` and
    yaml.YAMLError among it. Breaks: a wrong dagster.yaml would be told by Dagster's traceback."""
    from dagster._core.instance.config import dagster_instance_config

    settings, _ = dagster_instance_config(str(folder))
    return settings


def check_error() -> type[Exception]:
    """What Dagster raises where a value is of another kind than it expects."""
    from dagster._check import CheckError

    return CheckError


def open_instance(state: Path, settings: Path) -> dg.DagsterInstance:
    """The instance whose state lies in `state`, as the dagster.yaml in the folder `settings` describes it. Breaks: no
    run history outside of DAGSTER_HOME."""
    from dagster._core.instance import InstanceRef

    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(state), config_dir=str(settings)))


def first_stamp() -> str:
    """The revision that Dagster stamps SQLite tables with that carry none. Breaks: a history that several processes
    made at once would not be mended."""
    from dagster._core.storage.sqlite import LAST_KNOWN_STAMPED_SQLITE_ALEMBIC_REVISION

    return LAST_KNOWN_STAMPED_SQLITE_ALEMBIC_REVISION


def instance_text(instance: dg.DagsterInstance) -> str:
    """An instance as text, for another process to open. Breaks: `fusc ui`."""
    from dagster._serdes import serialize_value

    return serialize_value(instance.get_ref())


def instance_of(text: str) -> dg.DagsterInstance:
    """The instance that `instance_text` gave. Breaks: `fusc ui`."""
    from dagster._core.instance import InstanceRef
    from dagster._serdes import deserialize_value

    return dg.DagsterInstance.from_ref(deserialize_value(text, InstanceRef))


def run_code_server(module: str, location: str, options: list[str]) -> None:
    """Be the code server: it loads the definitions, starts runs, and loads them anew when the UI asks for that.
    Breaks: `fusc ui`."""
    from dagster._cli import cli

    what = ["--module-name", module, "--location-name", location, "--log-level", CODE_SERVER_LOG_LEVEL]
    cli(["code-server", "start", *what, *options])


def run_daemon(options: list[str]) -> None:
    """Be the daemon: sensors, schedules, the queue of runs, run monitoring. Breaks: `fusc ui`."""
    from dagster._daemon.cli import cli

    cli(["run", "--log-level", CODE_SERVER_LOG_LEVEL, *options], obj={})


@contextlib.contextmanager
def webserver_app(
    instance_ref: str, socket: str, location: str, read_only: bool, lifespan: Callable[[Any], Any]
) -> Iterator[Any]:
    """The webserver's ASGI application for an instance (of `instance_text`) and a code server on a Unix socket. Breaks:
    `fusc ui`."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import GrpcServerTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    with instance_of(instance_ref) as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT, _POOL_RECYCLE, _POOL_OVERFLOW)
        target = GrpcServerTarget(host="localhost", port=None, socket=socket, location_name=location)
        with WorkspaceProcessContext(
            instance, version=__version__, read_only=read_only, workspace_load_target=target
        ) as context:
            yield create_app_from_workspace_process_context(context, "", _POLL, lifespan=lifespan)


def is_cron(text: str) -> bool:
    """Whether Dagster takes the text for a schedule's time. Breaks: a wrong FUSC_RENEWAL_CRON would stop the code
    location from loading."""
    from dagster._utils.schedules import is_valid_cron_schedule

    return is_valid_cron_schedule(text)


def changed_record(record: Any, **values: Any) -> Any:
    """A copy of one of Dagster's records with other values. Breaks: runs that changed data starts would not have the
    installation's settings."""
    from dagster_shared.record import replace

    return replace(record, **values)
