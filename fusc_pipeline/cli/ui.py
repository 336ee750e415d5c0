"""`fusc ui`."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the parser."""
    verb = verbs.add_parser("ui", help="Dagster's UI with its daemon, closed to other machines and other pages")
    verb.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    verb.add_argument("--port", type=int, default=3000, help="port, 0 for any free one (default: 3000)")
    verb.add_argument("--read-only", action="store_true", help="for viewers: nothing can be started or changed")
    verb.add_argument("--no-daemon", action="store_true", help="no sensors, schedules and queued runs")
    verb.add_argument(
        "--behind-proxy",
        action="store_true",
        help="allow a --host that other machines reach: Dagster has no login, so a proxy with one must stand before it",
    )
    verb.add_argument(
        "--accept-events", action="store_true", help="let other programs report events of assets, without a login"
    )
    verb.set_defaults(verb=_ui)


def _ui(arguments: argparse.Namespace) -> None:
    import contextlib
    import importlib.util
    from pathlib import Path

    from fusc_pipeline.base.errors import BadSetting
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.locks import taken
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.operations.dagster_private import instance_text
    from fusc_pipeline.operations.history import run_history
    from fusc_pipeline.operations.recovery import reconcile
    from fusc_pipeline.ui.serve import Options, supervise

    if importlib.util.find_spec("dagster_webserver") is None:
        raise BadSetting("dagster-webserver is not installed; install the extra: pip install 'fusc-pipeline[ui]'")
    options = Options(
        arguments.host,
        arguments.port,
        arguments.read_only,
        not arguments.no_daemon,
        arguments.behind_proxy,
        arguments.accept_events,
    )

    def say(text: str) -> None:
        print(f"fusc ui: {text}", flush=True)

    check_data_root(write=not options.read_only)
    resource = StoreResource()
    with contextlib.ExitStack() as stack:
        with run_history() as instance:
            reference = instance_text(instance)
            lock = Path(instance.root_directory) / ".ui.lock"
            if not options.read_only:
                if not stack.enter_context(taken(lock)):
                    raise BadSetting("another `fusc ui` serves this run history already; for a second use --read-only")
                for told in reconcile(instance, resource.get(), resource.inbox()):
                    say(told)
        supervise(options, reference, resource.get().root / "report.html", say)
        say("stopped")
        if not options.read_only:
            with run_history() as instance:
                for told in _still_going(instance):
                    say(told)


def _still_going(instance: "dg.DagsterInstance") -> Iterator[str]:
    """The runs that outlive the UI, each as a sentence."""
    import dagster as dg

    from fusc_pipeline.operations.history import GOING
    from fusc_pipeline.operations.recovery import why_dead

    for run in instance.get_runs(filters=dg.RunsFilter(statuses=GOING)):
        if why_dead(instance, run) is None:
            yield f"run {run.run_id[:8]} ({run.job_name}) goes on to its end; the next `fusc ui` shows it again"
