"""Temporary files whose maker was killed, and work that has served, under the data root: found and cleared away.

Never by age. What a run makes under its slot's lock (`Store.exclusive`) is left over when that lock is free; any other
temporary file carries its maker's process number. Work folders themselves are no left-overs before what was made of
them is published: a killed run's successor continues from them (`fusc gc` clears those that no run can use any more).
No dagster here.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fusc_pipeline.host.atomic import settle, unsettled
from fusc_pipeline.host.locks import taken
from fusc_pipeline.host.processes import start_ticks
from fusc_pipeline.store.pixel_caches import PIXELS
from fusc_pipeline.store.store import WHOLE, Store

MODELS_MADE_BY = ("model_in_service", WHOLE)  # the slot under whose lock `models/` is written
# .x.tmp, .x.tmp-1234-ab12cd34, .x.old-1234-ab12cd34: what `atomic` names, and earlier releases named, what they are
# still writing; .x.old.ab12cd34 and, for folders, .x.ab12cd34: what earlier releases did.
_TEMPORARY = re.compile(r"\..+(\.tmp|\.(tmp|old)-[\w-]+|\.old\.\w+)")
_BUILDING = re.compile(r"\.[\w-]+\.[a-z0-9_]{8}")
_MAKER = re.compile(r"\.(?:tmp|old)-(\d+)(?:-[0-9a-f]{8})?$")
_UNPACKED = re.compile(r"fusc-(\d+)-")


def clear_leftovers(store: Store, dry_run: bool = False) -> list[str]:
    """Clear away what killed processes left under the data root; a sentence for each place that held something.

    dry_run: only tell. Safe beside live runs: what they are writing is under a lock that they hold or names a living
    process. Raises OSError when something that is left over cannot be removed.
    """
    told = []
    for slot in _slots(store):
        if left := clear_slot(store, *slot, dry_run):
            told.append(_words(left, f"{slot[0]}{'' if slot[1] == WHOLE else ' of batch ' + slot[1]}", dry_run))
    loose = [path for path in _loose(store) if not _lives(path)]
    if loose and not dry_run:
        _remove(loose)
    if loose:
        told.append(_words(len(loose), "the data root", dry_run))
    return told


def clear_slot(store: Store, asset: str, place: str, dry_run: bool = False) -> int:
    """As `clear_leftovers`, of one output: how much was left over. place: folder name of the partition."""
    if not _left_in_slot(store, asset, place):
        return 0  # the common case costs a listing and no lock
    with taken(store.root / "locks" / asset / f"{place}.lock") as free:
        left = _left_in_slot(store, asset, place) if free else []
        if left and not dry_run:
            store.sweep(asset, None if place == WHOLE else place)
            if (asset, place) == MODELS_MADE_BY:
                # A bundle steps aside only when it is damaged or of a run that was killed: none is put back.
                settle(store.root / "models", lambda _: False)
            _remove(left)
        return len(left)


def _words(count: int, where: str, dry_run: bool) -> str:
    many = f"{count} temporary file{'' if count == 1 else 's'} or folder{'' if count == 1 else 's'}"
    return f"{where}: {'would clear' if dry_run else 'cleared'} {many} of a killed run"


def _slots(store: Store) -> list[tuple[str, str]]:
    """(asset, folder name of the partition) of every slot that has anything."""
    found = {MODELS_MADE_BY} if (store.root / "models").is_dir() else set()
    for part in ("assets", "work"):
        found |= {(place.parent.name, place.name) for place in (store.root / part).glob("*/[!.]*/")}
    return sorted(slot for slot in found if slot[0] != PIXELS)


def _left_in_slot(store: Store, asset: str, place: str) -> list[Path]:
    """What a maker of this slot would have left, if none lives."""
    left = [path for path, _, _ in unsettled(store.root / "assets" / asset / place)]
    if any(map(_lives, left)):
        return []  # somebody writes here without the lock: a script that uses the store alone
    work = store.root / "work" / asset / place
    left += [path for path, _, _ in unsettled(work)]
    left += store.finished_work(asset, None if place == WHOLE else place)
    for folder in _entries(work):
        for path in _walk(folder):
            if _TEMPORARY.fullmatch(path.name) or (_BUILDING.fullmatch(path.name) and path.is_dir()):
                left.append(path)
    if (asset, place) == MODELS_MADE_BY:
        left += [path for path in _entries(store.root / "models") if _TEMPORARY.fullmatch(path.name)]
    return left


def _loose(store: Store) -> Iterator[Path]:
    """What is made outside every lock: the registry, the page, the name of the version in use, verdicts, pixel
    caches."""
    assets = store.root / "assets"
    folders = [store.root, store.private, *(path for path in _entries(store.private) if path.is_dir())]
    folders += [*assets.glob("*/*/"), *assets.glob("*/*/*/")]
    for folder in folders:
        for path in _entries(folder):
            if re.fullmatch(r"\..+\.tmp-[\w-]+", path.name) and not path.is_dir():
                yield path
    for path, _, _ in unsettled(store.root / "work" / PIXELS):
        yield path
    for path in _entries(store.private / "unpacked"):
        if _UNPACKED.match(path.name):
            yield path


def _lives(path: Path) -> bool:
    """Whether the process that the name tells runs. A name that tells none is of an earlier release."""
    told = _MAKER.search(path.name) or _UNPACKED.match(path.name)
    return told is not None and told[1].isdigit() and start_ticks(int(told[1])) is not None


def _walk(folder: Path) -> Iterator[Path]:
    """What lies in a folder, at most two levels down, not what lies in something temporary."""
    for path in _entries(folder):
        yield path
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield from _entries(path)


def _entries(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # another process cleared it at the same time
                shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
