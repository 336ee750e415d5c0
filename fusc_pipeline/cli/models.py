"""Verbs about the model in service: `fusc models`, `fusc promote`, `fusc rollback`.

A change is a run of the asset `model_in_service`, so that the run history knows it, as one from the UI would be.
"""

import argparse

ASSIGN = "fusc run --select 'key:\"batch_assignments\"'"


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the parser."""
    verb = verbs.add_parser("models", help="every model there was: which is in service, since when, how good, and why")
    verb.set_defaults(verb=_models)
    verb = verbs.add_parser("promote", help="put a model in service by its number")
    verb.add_argument("number", type=int, help="see `fusc models`")
    verb.set_defaults(verb=_promote)
    verb = verbs.add_parser("rollback", help="put the model in service that was before the present one")
    verb.set_defaults(verb=_rollback)


def _models(_arguments: argparse.Namespace) -> None:
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.service.history_text import models_text
    from fusc_pipeline.service.in_service import history_rows

    check_data_root(write=False)
    store = StoreResource().get()
    print(models_text(history_rows(store), store.root / "models"))


def _promote(arguments: argparse.Namespace) -> int:
    return _use(arguments.number)


def _rollback(_arguments: argparse.Namespace) -> int:
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.service.in_service import entries, history_rows
    from fusc_pipeline.service.promotion import before

    check_data_root(write=True)
    return _use(before(entries(history_rows(StoreResource().get()))))


def _use(number: int) -> int:
    """Put the model in service; 0 when it is."""
    from fusc_pipeline.cli.runner import run
    from fusc_pipeline.defs.engine.resources import StoreResource
    from fusc_pipeline.host.places import check_data_root
    from fusc_pipeline.service.in_service import entries, history_rows, served
    from fusc_pipeline.service.promotion import UNCHANGED, chosen

    check_data_root(write=True)
    store = StoreResource().get()
    decision = chosen(entries(history_rows(store)), number)  # refuses an unknown number before a run is started
    if decision.action == UNCHANGED:
        print(decision.why)
        return 0
    if failed := run(None, None, 'key:"model_in_service"', [f"model_in_service.use={number}"]):
        return failed
    now = served(store)
    assert now is not None  # the run has just put it there
    print(f"model {now.number} is in service; batches are assigned with it when they are made again: {ASSIGN}")
    return 0
