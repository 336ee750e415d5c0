"""One process of the UI, started by `serve`: `python -m fusc_pipeline.ui.child PARENT code|daemon|web OPTIONS…`.

What each does is Dagster's own; here it gets the signals it expects, and the death of its supervisor.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from fusc_pipeline.host.processes import die_with_parent
from fusc_pipeline.ui.location import DEFINITIONS, LOCATION


def main(argv: list[str]) -> None:
    """Become the process that `argv` names; returns when it was told to stop."""
    parent, kind, options = int(argv[0]), argv[1], argv[2:]
    die_with_parent()
    if os.getppid() != parent:
        return  # it died before we could ask to be told
    # In a shell without job control `&` hands down an ignored SIGINT, which Dagster would go by for SIGTERM as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    {"code": _code, "daemon": _daemon, "web": _web}[kind](options)


def _code(options: list[str]) -> None:
    from fusc_pipeline.operations.dagster_private import run_code_server

    run_code_server(DEFINITIONS, LOCATION, options)


def _daemon(options: list[str]) -> None:
    from fusc_pipeline.operations.dagster_private import run_daemon

    run_daemon(options)


def _web(options: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instance-ref", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--accept-events", action="store_true")
    given = parser.parse_args(options)
    from fusc_pipeline.ui.guard import Rules
    from fusc_pipeline.ui.web import serve

    rules = Rules.of(os.environ.get("FUSC_UI_HOSTS", ""), given.accept_events)
    serve(given.instance_ref, given.socket, given.host, given.port, given.page, rules, given.read_only)


if __name__ == "__main__":
    main(sys.argv[1:])
