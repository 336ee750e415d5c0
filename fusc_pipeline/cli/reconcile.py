"""`fusc reconcile`."""

import argparse


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the parser."""
    verb = verbs.add_parser(
        "reconcile", help="mend what killed runs left: runs that seem to go on, GPU slots, temporary files"
    )
    verb.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    verb.set_defaults(verb=_reconcile)


def _reconcile(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.operations.history import run_history
    from fusc_pipeline.operations.recovery import reconcile
    from fusc_pipeline.store.whole import broken

    check_data_root(write=True)
    resource = StoreResource()
    with run_history() as instance:
        told = reconcile(instance, resource.get(), resource.inbox(), arguments.dry_run)
    lost = broken(resource.get())
    print("\n".join([*told, *lost]) or "nothing to mend: no dead run, no stuck slot, no temporary file, no lost one")
