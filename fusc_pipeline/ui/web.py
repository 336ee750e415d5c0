"""Dagster's webserver application behind the guard and beside the report, and how it is served."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from fusc_pipeline.ui.guard import App, Guard, Rules
from fusc_pipeline.ui.location import LOCATION
from fusc_pipeline.ui.with_report import WithReport

_STOPPING_SECONDS = 3


@contextlib.contextmanager
def guarded_app(instance_ref: str, socket: str, page: Path, rules: Rules, read_only: bool = False) -> Iterator[App]:
    """The application for an instance (serialised) and a code server on a Unix socket."""
    from fusc_pipeline.operations.dagster_private import webserver_app

    with webserver_app(instance_ref, socket, LOCATION, read_only, _lifespan) as app:
        yield Guard(WithReport(app, page), rules)


def serve(instance_ref: str, socket: str, host: str, port: int, page: Path, rules: Rules, read_only: bool) -> None:
    """Serve until SIGINT or SIGTERM."""
    import uvicorn

    with guarded_app(instance_ref, socket, page, rules, read_only) as app:
        # Open pages hold web sockets for as long as they are open; they need not keep us.
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=_STOPPING_SECONDS,
            server_header=False,
        )


@contextlib.asynccontextmanager
async def _lifespan(_app: App) -> AsyncIterator[None]:
    import asyncio

    with contextlib.suppress(asyncio.CancelledError):  # how uvicorn's end reaches us
        yield
