"""Dagster's webserver application behind the guard and beside the report, and how it is served."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from fusc_pipeline.ui.guard import App, Guard, Rules
from fusc_pipeline.ui.location import LOCATION
from fusc_pipeline.ui.with_report import WithReport

# As `dagster-webserver` has them: milliseconds, seconds, connections; milliseconds between the UI's questions.
_STATEMENT_TIMEOUT, _POOL_RECYCLE, _POOL_OVERFLOW, _POLL = 15_000, 3_600, 20, 2_000
_STOPPING_SECONDS = 3


@contextlib.contextmanager
def guarded_app(instance_ref: str, socket: str, page: Path, rules: Rules, read_only: bool = False) -> Iterator[App]:
    """The application for an instance (serialised) and a code server on a Unix socket."""
    import dagster as dg
    from dagster._core.instance import InstanceRef
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import GrpcServerTarget
    from dagster._serdes import deserialize_value
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    with dg.DagsterInstance.from_ref(deserialize_value(instance_ref, InstanceRef)) as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT, _POOL_RECYCLE, _POOL_OVERFLOW)
        target = GrpcServerTarget(host="localhost", port=None, socket=socket, location_name=LOCATION)
        with WorkspaceProcessContext(
            instance, version=__version__, read_only=read_only, workspace_load_target=target
        ) as context:
            app = create_app_from_workspace_process_context(context, "", _POLL, lifespan=_lifespan)
            yield Guard(WithReport(app, page), rules)


def serve(instance_ref: str, socket: str, host: str, port: int, page: Path, rules: Rules, read_only: bool) -> None:
    """Serve until SIGINT or SIGTERM."""
    import uvicorn

    with guarded_app(instance_ref, socket, page, rules, read_only) as app:
        # Open pages hold web sockets for as long as they are open; they need not keep us.
        limits = {"timeout_graceful_shutdown": _STOPPING_SECONDS, "server_header": False}
        uvicorn.run(app, host=host, port=port, log_level="warning", **limits)


@contextlib.asynccontextmanager
async def _lifespan(_app: App) -> AsyncIterator[None]:
    import asyncio

    with contextlib.suppress(asyncio.CancelledError):  # how uvicorn's end reaches us
        yield
