"""`fusc`: the verbs Dagster lacks. Everything else is `dagster asset materialize` and the UI."""

import argparse
import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from fusc_pipeline.base.errors import DISK_ERRORS, BadInput, BadSetting, FuscError
from fusc_pipeline.cli import deliveries, models, reconcile, ui, upkeep
from fusc_pipeline.host.places import DATA, check_data_root, data_root, expanded
from fusc_pipeline.scans.datasets import LAYOUTS

BATCH_PARTITIONS = "scan_batch"


def main(argv: list[str] | None = None) -> int:
    """Entry point of the `fusc` command; returns the exit code (1: refused or failed, with a reason on stderr)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.verb(arguments) or 0
    except FuscError as refusal:
        print(f"fusc: {refusal}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `fusc status | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in DISK_ERRORS:
            print(
                f"fusc: {os.strerror(error.errno)} where the data root or the run history lies; nothing half-written "
                "is visible. Make room, or let it be written, then run again",
                file=sys.stderr,
            )
        elif isinstance(error.filename, str):  # a folder that this user may not enter, a file in a folder's place
            print(
                f"fusc: {error.filename!r}{_whose(error.filename)}: {error.strerror}; see that it is what it should be "
                "and that this user may use it, then run again",
                file=sys.stderr,
            )
        else:
            raise
        return 1


def _whose(path: str) -> str:
    """Which variable a path lies under, for whoever has to change it."""
    root = Path(data_root()).absolute()
    return f" (in the data root, {DATA})" if Path(path).absolute().is_relative_to(root) else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fusc", description="Clusters of fetal ultrasound views from raw scans.")
    verbs = parser.add_subparsers(required=True, metavar="verb")

    verb = verbs.add_parser("init", help="make the data root, the key for patient hashes and the run history")
    verb.add_argument(
        "--new-key",
        action="store_true",
        help="make a key though scans stand that were read with one that is gone: read every batch again after it",
    )
    verb.set_defaults(verb=_init)

    verb = verbs.add_parser("add-batch", help="register a folder of delivered scans as a scan batch")
    verb.add_argument("folder", type=expanded)
    verb.add_argument(
        "--key",
        help="batch key; it is shown everywhere, so it must name nobody (default: the folder's name where it lies in "
        "the data root's inbox, else a number)",
    )
    verb.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="auto: FETAL_PLANES_DB is known by its table, all else is plain; folder_per_view: folder names are labels",
    )
    verb.add_argument(
        "--external",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="another data set: finished models are tested on it (external_purity), nothing is trained on it; "
        "--no-external takes that back (default: as it was added)",
    )
    verb.set_defaults(verb=_add_batch)

    verb = verbs.add_parser("run", help="materialise the graph for one batch, or for all")
    verb.add_argument("--batch", help="batch key (default: every batch, then the corpus once)")
    verb.add_argument("--preset", help="see `fusc presets`, or a YAML file like them (default: FUSC_PRESET)")
    verb.add_argument(
        "--select", default="*", help="Dagster's asset selections, with commas between several (default: everything)"
    )
    verb.add_argument("--set", action="append", default=[], metavar="ASSET.FIELD=VALUE", help="override one setting")
    verb.set_defaults(verb=_run)

    verb = verbs.add_parser("presets", help="list the presets, or print one")
    verb.add_argument("name", nargs="?")
    verb.set_defaults(verb=_presets)

    verb = verbs.add_parser("audit-labels", help="a page to judge a sample of pseudo-labels on, and its answers")
    verb.add_argument("--batch", action="append", default=[], help="batch key, may be repeated (default: all)")
    verb.add_argument("--share", type=float, default=0.1, help="share of each view's frames (default: 0.1)")
    verb.add_argument("--least", type=int, default=5, help="frames of each view at the least (default: 5)")
    verb.add_argument("--most", type=int, default=1000, help="labelled frames at the most (default: 1000)")
    verb.add_argument("--unlabelled", type=int, default=30, help="frames without a label (default: 30)")
    verb.add_argument("--seed", type=int, default=0, help="which frames are drawn (default: 0)")
    verb.add_argument("--answers", type=expanded, help="the file saved on the page: check it and count it")
    verb.add_argument("--reviewer", default="reader-1", help="a key for who answered, no name (default: reader-1)")
    verb.set_defaults(verb=_audit_labels)

    verb = verbs.add_parser("phantom", help="write a batch of synthetic scans")
    verb.add_argument("folder", type=expanded)
    verb.add_argument("--frames", type=int, default=600)
    verb.add_argument("--subjects", type=int, default=45)
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument(
        "--external",
        action="store_true",
        help="laid out as FETAL_PLANES_DB, other machines, with the cervix; for add-batch --external",
    )
    verb.add_argument(
        "--hard-words",
        action="store_true",
        help="names burnt into every picture that are turned, dark, faint or one letter below another",
    )
    verb.set_defaults(verb=_phantom)
    for module in (deliveries, models, reconcile, ui, upkeep):
        module.add(verbs)
    return parser


def _store():
    from fusc_pipeline.defs.engine.resources import StoreResource

    return StoreResource()


def _init(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.host.locks import exclusive
    from fusc_pipeline.operations.history import history_folders, run_history
    from fusc_pipeline.scans.identity import KEY_VARIABLE, create_key, load_key, require_no_scans

    check_data_root(write=True, make=True)
    history_folders()
    given = bool(os.environ.get(KEY_VARIABLE, "").strip())
    if given:
        load_key()  # refuses one that is none
    inbox = _store().inbox()
    inbox.private.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = inbox.key_file
    with exclusive(inbox.root / "locks" / "init.lock", "fusc init"):
        made = not key.exists() and not given
        if made:
            if not arguments.new_key:
                require_no_scans(key)
            create_key(key)
    if made:
        print(f"made {key}: keep it, and keep it secret; without it patients cannot be told apart consistently")
    (inbox.root / "inbox").mkdir(exist_ok=True)
    with run_history() as instance:  # makes the run history before several processes want to at once
        instance.get_runs(limit=1)
    print(f"ready: data root {inbox.root}")


def _add_batch(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.operations.history import history_folders, run_history
    from fusc_pipeline.scans.datasets import read_data_set, view_folders
    from fusc_pipeline.scans.files import list_files, validate_batch_key

    check_data_root(write=True, make=True)
    history_folders()
    folder, inbox = arguments.folder.resolve(), _store().inbox()
    batch = validate_batch_key(inbox.default_key(folder) if arguments.key is None else arguments.key)
    inbox.check(batch, folder)
    views = view_folders(list_files(folder)) if arguments.layout == "folder_per_view" else []
    if arguments.layout is not None:
        print(f"layout: {read_data_set(list_files(folder), arguments.layout, views).layout}")
    inbox.register(batch, folder, arguments.layout, views, arguments.external)
    if views:
        print(f"these folder names are labels from now on, make sure that none names a person: {', '.join(views)}")
    with run_history() as instance:
        known = batch in instance.get_dynamic_partitions(BATCH_PARTITIONS)
        if not known:
            instance.add_dynamic_partitions(BATCH_PARTITIONS, [batch])
    external = ", external: no model is trained on it" if inbox.is_external(batch) else ""
    print(f"batch {batch!r} {'was known' if known else 'added'}{external}; next: fusc run --batch {batch}")


def _run(arguments: argparse.Namespace) -> int:
    from fusc_pipeline.cli.runner import run

    return run(arguments.batch, arguments.preset, arguments.select, arguments.set)


def _presets(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.operations.presets import preset_names, preset_text

    print(preset_text(arguments.name) if arguments.name else "\n".join(preset_names()))


def _audit_labels(arguments: argparse.Namespace) -> int:
    from fusc_pipeline.audits.label_review import draw_page, noise_in_words, take_answers

    check_data_root(write=True)
    resource = _store()
    store, private = resource.get(), resource.inbox().private
    if arguments.answers is None:
        from fusc_pipeline.audits.label_sample import SampleConfig

        names = ("share", "least", "most", "unlabelled", "seed")
        config = SampleConfig(**{name: getattr(arguments, name) for name in names})
        drawn = draw_page(store, private, config, arguments.batch)
        print(f"sample {drawn.sample}: {drawn.labelled} frames with a label, {drawn.unlabelled} without")
        print(f"open {drawn.page} in a browser; it shows words from the delivered screens, so leave it where it is")
        print("then: fusc audit-labels --answers <the file that the page saves>")
        return 0
    from fusc_pipeline.cli.runner import run

    sample, answered, frames = take_answers(private, arguments.answers, arguments.reviewer)
    print(f"sample {sample}: {answered} of {frames} frames judged")
    failed = run(None, None, 'key:"label_audit"', [])
    if not failed:
        print(noise_in_words(store))
        print("for the page of results: fusc run --select 'key:\"cluster_report\"'")
    return failed


def _phantom(arguments: argparse.Namespace) -> None:
    from fusc_pipeline.base.compute import usable_cores
    from fusc_pipeline.phantom.config import PhantomConfig
    from fusc_pipeline.phantom.deliver import write_batch
    from fusc_pipeline.phantom.external import external_config, write_external

    sizes: dict[str, Any] = {"n_frames": arguments.frames, "n_subjects": arguments.subjects, "seed": arguments.seed}
    hard: dict[str, Any] = {"p_hard_words": 1.0} if arguments.hard_words else {}
    settings = sizes | ({"external": True} if arguments.external else {}) | hard
    folder = arguments.folder
    marker = folder / "_PHANTOM.json"
    if marker.exists():
        with contextlib.suppress(ValueError):  # a marker that cannot be read is of no batch
            if json.loads(marker.read_text()) == settings:
                print(f"{folder} holds this phantom batch already")
                return
        raise BadInput(f"{folder} holds another phantom batch; give another folder or remove it")
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty; give a new folder")
    if arguments.frames < 1 or arguments.subjects < 1:
        raise BadSetting("--frames and --subjects must be 1 or more")
    if arguments.external:
        truth = write_external(folder, replace(external_config(**sizes), **hard), n_jobs=usable_cores())
    else:
        truth = write_batch(folder, PhantomConfig(**sizes, **hard), n_jobs=usable_cores())
    marker.write_text(json.dumps(settings))
    print(f"wrote {arguments.frames} frames of {arguments.subjects} subjects to {folder}")
    print(f"what they show, for scoring only: {truth}")
