"""Temporary files whose maker was killed, under the data root: finding them and clearing them away.

Never by age. What a run makes under its slot's lock (`Store.alone`) is left over when that lock is free; any other
temporary file carries its maker's process number. Work folders themselves are no left-overs: a killed run's successor
continues from them (`fusc gc` clears those that no run can use any more). No dagster here.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fusc_pipeline.locks import taken
from fusc_pipeline.processes import start_ticks
from fusc_pipeline.resources.store import Store, sweep

MODELS_MADE_BY = ("model_in_service", "_")  # the slot under whose lock `models/` is written
# .x.tmp, .x.tmp-1234-ab12cd34, .x.old.ab12cd34 and, for folders, .x.ab12cd34: what `atomic`, `checkpoints` and `pixels`
# name what they are still writing.
_TEMPORARY = re.compile(r"\..+(\.tmp|\.tmp-[\w-]+|\.old\.\w+)")
_BUILDING = re.compile(r"\.[\w-]+\.[a-z0-9_]{8}")
_MAKER = re.compile(r"\.tmp-(\d+)(-[0-9a-f]{8})?")
_UNPACKED = re.compile(r"fusc-(\d+)-")


def clear_leftovers(store: Store, dry_run: bool = False) -> list[str]:
    """Clear away what killed processes left under the data root; a sentence for each place that held something.

    dry_run: only tell. Safe beside live runs: what they are writing is under a lock that they hold or names a living
    process. Raises OSError when something that is left over cannot be removed.
    """
    told = []
    for slot in _slots(store):
        if not _left_in_slot(store, slot):
            continue  # the common case costs a listing and no lock
        with taken(store.root / "locks" / slot[0] / f"{slot[1]}.lock") as free:
            left = _left_in_slot(store, slot) if free else []
            if left and not dry_run:
                sweep(store.root / "assets" / slot[0] / slot[1])
                _remove(left)
        if left:
            told.append(_words(len(left), f"{slot[0]}{'' if slot[1] == '_' else ' of batch ' + slot[1]}", dry_run))
    loose = [path for path in _loose(store) if not _lives(path)]
    if loose and not dry_run:
        _remove(loose)
    if loose:
        told.append(_words(len(loose), "the data root", dry_run))
    return told


def _words(count: int, where: str, dry_run: bool) -> str:
    many = f"{count} temporary file{'' if count == 1 else 's'} or folder{'' if count == 1 else 's'}"
    return f"{where}: {'would clear' if dry_run else 'cleared'} {many} of a killed run"


def _slots(store: Store) -> list[tuple[str, str]]:
    """(asset, folder name of the partition) of every slot that has anything."""
    found = {MODELS_MADE_BY} if (store.root / "models").is_dir() else set()
    for part in ("assets", "work"):
        found |= {(place.parent.name, place.name) for place in (store.root / part).glob("*/*/")}
    return sorted(found)


def _left_in_slot(store: Store, slot: tuple[str, str]) -> list[Path]:
    """What a maker of this slot would have left, if none lives."""
    assets = store.root / "assets" / slot[0] / slot[1]
    left = [path for path in _entries(assets) if re.fullmatch(r"\..*\.(tmp|old)-.*", path.name) and path.is_dir()]
    if any(map(_lives, left)):
        return []  # somebody writes here without the lock: a script that uses the store alone
    for folder in _entries(store.root / "work" / slot[0] / slot[1]):
        for path in _walk(folder):
            if _TEMPORARY.fullmatch(path.name) or (_BUILDING.fullmatch(path.name) and path.is_dir()):
                left.append(path)
    if slot == MODELS_MADE_BY:
        left += [path for path in _entries(store.root / "models") if path.name.startswith(".") and "tmp" in path.name]
    return left


def _loose(store: Store) -> Iterator[Path]:
    """Temporary files outside every lock: of the registry, the page, the name of the version in use, verdicts."""
    assets = store.root / "assets"
    folders = [store.root, store.private, *(path for path in _entries(store.private) if path.is_dir())]
    folders += [*assets.glob("*/*/"), *assets.glob("*/*/*/")]
    for folder in folders:
        for path in _entries(folder):
            if re.fullmatch(r"\..+\.tmp-[\w-]+", path.name) and not path.is_dir():
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
