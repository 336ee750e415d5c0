"""Verbs about delivered batches: `fusc arrivals`, `fusc files`."""

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

    verb = verbs.add_parser(
        "files",
        help="by their names on this machine: delivered files that were rejected or passed over, and what was decided "
        "about odd ones",
    )
    verb.add_argument("batch")
    verb.set_defaults(verb=_files)


def _arrivals(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.operations.arrivals import ArrivalRules, look, looking, standing
    from fusc_pipeline.scans.files import printable

    check_data_root(write=True)  # it takes its turn with the sensor
    resource = StoreResource()
    store, inbox = resource.get(), resource.inbox()
    keys = inbox.keys()
    with looking(inbox) as memory:
        seen = look(inbox, keys, lambda batch: standing(store, batch), memory, ArrivalRules.from_environment())
        if arguments.look:
            inbox.keep_looks(seen.memory)
    for arrival in seen.arrivals:
        if arguments.all or arrival.state != "unchanged":
            name = printable(arrival.folder.name)
            batch = f" (batch {arrival.key})" if arrival.key and arrival.key != name else ""
            print(f"{name}{batch}: {arrival.state}: {arrival.why}")
    if seen.told:
        print(seen.told)
    unchanged = len(seen.of_state("unchanged"))
    print(f"{len(seen.arrivals)} folders, {unchanged} of them made and unchanged")


def _files(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.scans.files import printable

    check_data_root(write=False)
    resource = StoreResource()
    store, inbox, batch = resource.get(), resource.inbox(), arguments.batch
    names = {key: printable(name) for key, name in inbox.file_names(batch).items()}
    rejected = store.table("rejected_scans", batch).to_pylist()
    for row in rejected:
        frame = "" if row["frame_index"] is None else f" frame {row['frame_index']}"
        print(f"{names.get(row['file_key'], row['file_key'])}{frame}: {row['reason']}: {row['detail']}")
    taken = store.table("scans", batch, ["file_key", "notes", "own_label"])
    noted = {row["file_key"]: row["notes"] for row in taken.to_pylist() if row["notes"]}
    for key, notes in noted.items():
        print(f"{names.get(key, key)}: taken; {notes}")
    passed_over = inbox.passed_over(batch)
    for name, why in passed_over.items():
        print(f"{printable(name)}: passed over; {why}")
    files = len(set(taken.column("file_key").to_pylist()))
    print(f"{files} files with {taken.num_rows} frames taken, {len(noted)} with a note; {len(passed_over)} passed over")
    print(f"{len(rejected)} rejected")
    layout = store.require("scans", batch).metadata.get("layout", "plain")
    if layout != "plain":
        from fusc_pipeline.defs.ingestion.scans import unlisted

        keys = unlisted(taken)
        for key in keys:
            print(f"{names.get(key, key)}: taken without a label, the data set ({layout}) does not know it")
        print(f"{len(keys)} not in the data set")
