"""`fusc status` and `fusc gc`: what stands and why a run would work, and what nothing in use needs."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusc_pipeline.cli.status import State
    from fusc_pipeline.defs.engine.resources import StoreResource


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the parser."""
    verb = verbs.add_parser("status", help="what is fresh, stale, missing or blocked, and why; nothing is made")
    verb.add_argument("--batch", help="only this batch's outputs")
    verb.add_argument("--asset", help="only this asset's outputs")
    verb.add_argument("--all", action="store_true", help="the fresh ones too")
    verb.add_argument("--json", action="store_true", help="everything as JSON, a list of outputs")
    verb.add_argument("--preset", help="judge by the settings of this preset (default: FUSC_PRESET, else as made)")
    verb.set_defaults(verb=_status)

    verb = verbs.add_parser("gc", help="what no output in use needs, and its size; removes nothing unless told to")
    verb.add_argument("--delete", action="store_true", help="remove it")
    verb.add_argument("--keep", type=int, default=1, help="superseded versions kept of each output (default: 1)")
    verb.add_argument("--models", type=int, default=5, help="models out of service that are kept (default: 5)")
    verb.add_argument(
        "--days", type=float, default=7, help="days that unfinished work and texts of errors are kept (default: 7)"
    )
    verb.set_defaults(verb=_gc)


def _status(arguments: argparse.Namespace) -> None:
    import json
    import logging
    from dataclasses import asdict

    from fusc_pipeline.base.errors import BadInput
    from fusc_pipeline.cli.runner import check_config
    from fusc_pipeline.cli.status import Settings, status
    from fusc_pipeline.defs.build import build_definitions
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.operations.presets import load_preset, site_preset

    logging.getLogger("fusc_pipeline.defs.engine.planning").setLevel(logging.CRITICAL)  # what a plan says is said below
    check_data_root(write=False)
    definitions, resource = build_definitions(), StoreResource()
    preset = arguments.preset or site_preset()
    if preset:
        check_config(load_preset(preset), definitions)
    found = status(definitions, resource, Settings.of(preset))
    for name, kind in (("asset", "asset"), ("batch", "batch")):
        wanted = getattr(arguments, name)
        if wanted is not None:
            there = [state for state in found if getattr(state, name) == wanted]
            if not there:
                known = ", ".join(sorted({str(getattr(state, name)) for state in found} - {"None"})) or "none"
                raise BadInput(f"there is no {kind} {wanted!r}; known: {known}")
            found = there
    if arguments.json:
        rows = [{name: value for name, value in asdict(state).items() if name != "plan"} for state in found]
        print(json.dumps(rows, indent=1))
        return
    print("\n".join([*_summary(found, preset), *_lines(found, arguments.all), *_around(resource)]))


def _summary(found: "list[State]", preset: str | None) -> list[str]:
    from fusc_pipeline.cli.status import STATES

    counts = {state: sum(one.state == state for one in found) for state in STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    by = f"the preset {preset}" if preset else "the settings each was made with (FUSC_PRESET is not set)"
    return [f"{len(found)} outputs: {told or 'none'}", f"judged by {by}"]


def _lines(found: "list[State]", everything: bool) -> list[str]:
    """A line for each output, or for the same words about several batches of an asset."""
    from fusc_pipeline.base.words import named
    from fusc_pipeline.cli.status import FRESH, NOT_MADE

    grouped: dict[tuple, list[str]] = {}
    for one in found:
        if everything or one.state not in (FRESH, NOT_MADE):
            words = tuple(why.replace(f"of batch {one.batch}", "of that batch") for why in one.why)
            grouped.setdefault((one.state, one.asset, words), []).append(one.batch or "")
    lines = []
    for (state, asset, why), batches in grouped.items():
        where = f" of {named('batch', batches)}" if batches[0] else ""
        lines.append(f"  {state:8} {asset}{where}" + (f": {'; '.join(why)}" if why else ""))
    warned: dict[tuple[str, str], list[str]] = {}
    for one in found:
        for warning in one.warnings:
            warned.setdefault((one.asset, warning), []).append(one.batch or "")
    for (asset, warning), batches in warned.items():
        where = f" of {named('batch', batches)}" if batches[0] else ""
        lines.append(f"  warning  {asset}{where}: {warning}")
    return lines


def _around(resource: "StoreResource") -> list[str]:
    """The model in service, and what waits in the inbox."""
    import time

    from fusc_pipeline.service.in_service import served

    store, inbox = resource.get(), resource.inbox()
    model = served(store)
    if model is None:
        lines = ["no model is in service"]
    else:
        since = time.strftime("%Y-%m-%d", time.gmtime(model.since))
        lines = [f"model {model.number} is in service since {since} (fusc models)"]
    known = {folder.resolve() for folder in inbox.registered().values()}
    waiting = sum(path.resolve() not in known for path in inbox.drop.glob("[!._]*/"))
    if waiting:
        lines.append(f"{waiting} deliveries in the inbox are not taken in yet (sensor new_scan_batches)")
    return lines


def _gc(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.cli.gc import Limits, collect, find
    from fusc_pipeline.defs.build import build_definitions
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root

    check_data_root(write=arguments.delete)
    resource = StoreResource()
    limits = Limits(arguments.keep, arguments.models, arguments.days)
    found = find(build_definitions(), resource, limits)
    print("\n".join(found.lines()))
    if arguments.delete:
        print("\n".join(collect(resource.get(), found)))
    elif found.unneeded:
        print("nothing was removed; remove it with: fusc gc --delete")
