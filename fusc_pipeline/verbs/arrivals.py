"""Verbs about delivered batches: `fusc arrivals`."""

import argparse


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the parser."""
    verb = verbs.add_parser("arrivals", help="what lies in the inbox, by its names on this machine, and why it waits")
    verb.add_argument(
        "--look",
        action="store_true",
        help="count this as a look: a folder without a _READY marker is ready when it looked the same several times",
    )
    verb.add_argument("--all", action="store_true", help="list what is made and unchanged as well")
    verb.set_defaults(verb=_arrivals)


def _arrivals(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.arrivals import ArrivalRules, look, looking, standing
    from fusc_pipeline.places import check_data_root
    from fusc_pipeline.resources.resource import StoreResource
    from fusc_pipeline.scans.identity import load_key

    check_data_root(write=True)  # it takes its turn with the sensor
    resource = StoreResource()
    store, inbox = resource.get(), resource.inbox()
    keys = load_key(inbox.private / "hmac.key")
    with looking(inbox) as memory:
        seen = look(inbox, keys, lambda batch: standing(store, batch), memory, ArrivalRules.from_environment())
        if arguments.look:
            inbox.keep_looks(seen.memory)
    for arrival in seen.arrivals:
        if arguments.all or arrival.state != "unchanged":
            # A name that is no text in this locale is shown as far as it is.
            name = arrival.folder.name.encode("utf-8", "replace").decode()
            batch = f" (batch {arrival.key})" if arrival.key and arrival.key != name else ""
            print(f"{name}{batch}: {arrival.state}: {arrival.why}")
    if seen.told:
        print(seen.told)
    unchanged = len(seen.of_state("unchanged"))
    print(f"{len(seen.arrivals)} folders, {unchanged} of them made and unchanged")
