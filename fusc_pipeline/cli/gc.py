"""What nothing in use needs: superseded versions, left work, pixel caches, models out of service, old texts of errors.

Two steps: `find` says what and why, and touches nothing; `collect` removes it, each output's lock held, so that a run
is never disturbed. Delivered scans, keys, the registry, answers and histories are never looked at.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.words import named
from fusc_pipeline.cli.status import Settings, State, batches_of, status
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.host.atomic import remove_folder
from fusc_pipeline.host.disk import megabytes, newest, size_of
from fusc_pipeline.host.locks import exclusive, holder, taken
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.operations.presets import site_preset
from fusc_pipeline.service.in_service import IN_SERVICE, entries, history_rows
from fusc_pipeline.store.pixel_caches import PIXELS, pixel_cache, pixel_caches
from fusc_pipeline.store.store import CURRENT, WHOLE, Record, Store

DAY = 24 * 3600.0


@dataclass(frozen=True)
class Limits:
    """versions: superseded ones kept of each output beside what versions in use were made from; models: bundles out of
    service; days: unfinished work and texts of errors that were touched since stay."""

    versions: int = 1
    models: int = 5
    days: float = 7.0


@dataclass(frozen=True)
class Unneeded:
    """One file or folder. asset, batch: whose lock is held while it goes; empty: nobody's."""

    path: Path
    why: str
    size: int
    asset: str = ""
    batch: str | None = None


@dataclass(frozen=True)
class Found:
    """What could go, and what else was seen and is only told."""

    unneeded: list[Unneeded] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The findings, summed up by reason."""
        groups: dict[str, list[int]] = {}
        for one in self.unneeded:
            groups.setdefault(one.why, []).append(one.size)
        lines = [f"{megabytes(sum(sizes)):>12}  {len(sizes)} x {why}" for why, sizes in sorted(groups.items())]
        total = sum(one.size for one in self.unneeded)
        return [*lines, f"{megabytes(total):>12}  in all that nothing in use needs", *self.told]


class Busy(Exception):
    """Another run holds an output's lock."""


def find(definitions: dg.Definitions, resource: StoreResource, limits: Limits = Limits(), now: float = 0.0) -> Found:
    """What nothing in use needs. now: seconds since 1970, 0: the clock's."""
    store, inbox, now = resource.get(), resource.inbox(), now or time.time()
    if limits.versions < 0 or limits.models < 0:
        raise BadSetting("--keep and --models must be 0 or more")
    if not limits.days >= 0:  # NaN is not
        raise BadSetting(f"--days is {limits.days}; it must be 0 or more")
    site = _site()
    states = status(definitions, resource, site)
    found = Found()
    found.unneeded.extend(_versions(store, limits.versions))
    found.unneeded.extend(_work(store, states, now - limits.days * DAY))
    found.unneeded.extend(_pixels(store, site))
    found.unneeded.extend(_models(store, limits.models))
    found.unneeded.extend(_private(inbox, now - limits.days * DAY))
    found.told.extend(_told(store, inbox))
    return found


def collect(store: Store, found: Found) -> list[str]:
    """Remove what was found, as far as no run is at it; returns what was done, in words.

    While any output is being made nothing goes, since its run may have open what is no longer in use by now.
    """
    at_work = busy(store)
    removed, kept = 0, 0
    for one in found.unneeded:
        try:
            if at_work:
                raise Busy
            with _alone(store, one):
                removed += _remove(one)
        except Busy:
            kept += 1
    lines = [f"removed {megabytes(removed)}"]
    if kept:
        who = at_work[0] if at_work else "another run"
        lines.append(f"{kept} left where they are, since {who} is at work; run it again later")
    return lines


def busy(store: Store) -> list[str]:
    """Who makes an output at this moment, in words."""
    found = []
    for lock in (store.root / "locks").glob("*/*.lock"):
        with taken(lock) as free:
            if not free:
                found.append(holder(lock))
    return found


def in_use(store: Store) -> set[tuple[str, str | None, str]]:
    """(asset, batch, fingerprint) of every version that is in use or was an input of one, however far back."""
    kept: set[tuple[str, str | None, str]] = set()
    there = store.slots()
    todo = [record for asset, batch in there if (record := store.record(asset, batch))]
    versions: dict[tuple[str, str | None], list[Record]] = {}
    while todo:
        record = todo.pop()
        place = (record.asset, record.partition, record.fingerprint)
        if place in kept:
            continue
        kept.add(place)
        for name, version in record.inputs.items():
            asset, _, batch = name.partition("/")
            slot = (asset, batch or (None if (asset, None) in there else record.partition))
            if slot not in versions:
                versions[slot] = store.versions(*slot) if (store.root / "assets" / asset).is_dir() else []
            todo += [other for other in versions[slot] if other.data_version == version]
    return kept


def _versions(store: Store, keep: int) -> Iterator[Unneeded]:
    used = in_use(store)
    for asset, batch in store.slots():
        current = store.record(asset, batch)
        if current is None:
            continue  # nothing is in use: whatever lies there was put there by hand
        others = [r for r in store.versions(asset, batch) if r.fingerprint != current.fingerprint]
        for record in others[keep:]:
            if (asset, batch, record.fingerprint) not in used:
                place = store.place(record)
                yield Unneeded(place, "superseded version", size_of(place), asset, batch)


def _work(store: Store, states: list[State], before: float) -> Iterator[Unneeded]:
    """Left work: of a version that stands, or of a recipe that no run has used for days."""
    wanted = {(s.asset, s.batch): {s.plan.fingerprint[:16], s.plan.recipe.key[:16]} for s in states if s.plan}
    for folder in (store.root / "work").glob("[!.]*/[!.]*/[!.]*/"):
        asset, slot, key = folder.relative_to(store.root / "work").parts
        batch = None if slot == WHOLE else slot
        if asset == PIXELS:
            continue
        stands = (store.root / "assets" / asset / slot / key / "_fingerprint.json").exists()
        if stands:
            yield Unneeded(folder, "left work of a version that stands", size_of(folder), asset, batch)
        elif key not in wanted.get((asset, batch), ()) and newest(folder) < before:
            yield Unneeded(folder, "left work of settings or inputs out of use", size_of(folder), asset, batch)


def _pixels(store: Store, site: Settings) -> Iterator[Unneeded]:
    """Pixel caches of another corpus, size or resizing than any in use or asked for by the installation's preset."""
    corpus = store.record("corpus")
    configs = [r.config for asset, batch in store.slots() if (r := store.record(asset, batch))]
    configs += [(body or {}).get("config") or {} for body in site.ops.values()]
    sides = {config["image_size"] for config in configs if "image_size" in config}
    ways = {config["resize"] for config in configs if "resize" in config} | {"letterbox"}
    version = corpus.data_version if corpus else ""
    wanted = {pixel_cache(store, version, side, way) for side in sides for way in ways}
    for folder in pixel_caches(store).glob("[!.]*/"):
        if folder not in wanted:
            yield Unneeded(folder, "pixel cache out of use (it is made again when it is needed)", size_of(folder))


def _models(store: Store, keep: int) -> Iterator[Unneeded]:
    """Bundles out of service, beyond the newest; never the one in service or the one before it."""
    folder = store.root / "models"
    numbers = sorted((int(p.name) for p in folder.glob("[0-9]*/") if p.name.isdecimal()), reverse=True)
    rows = history_rows(store)
    if not rows:
        return  # without a history nobody can say which is in service
    served = [entry.in_service for entry in entries(rows)]
    others = [number for number in dict.fromkeys(reversed(served)) if number != served[-1]]
    held = {served[-1], *others[:1]}
    retired = [number for number in numbers if number not in held]
    for number in retired[keep:]:
        if number <= max(row["number"] for row in rows):  # a newer one is being packed
            bundle = folder / str(number)
            yield Unneeded(bundle, "model out of service", size_of(bundle), IN_SERVICE)


def _private(inbox: Inbox, before: float) -> Iterator[Unneeded]:
    for path in (inbox.private / "errors").glob("*.txt"):
        if newest(path) < before:
            yield Unneeded(path, "text of an old error", path.stat().st_size)
    for path in (inbox.private / "unpacked").glob("*"):
        yield Unneeded(path, "unpacked member of an archive, left by a killed run", size_of(path))


def _told(store: Store, inbox: Inbox) -> list[str]:
    """What only a person can decide about."""
    registered = inbox.registered()
    gone = [batch for batch, folder in registered.items() if not folder.is_dir()]
    dropped = {path.name for path in inbox.drop.glob("[!.]*/")}
    unknown = [batch for batch in batches_of(store, inbox) if batch not in registered and batch not in dropped]
    lines = []
    if gone:
        lines.append(f"told only: the folder of {named('batch', gone)} is gone; what was made of it stands")
    if unknown:
        lines.append(f"told only: {named('batch', unknown)} is not registered here, but something was made of it")
    return lines


@contextlib.contextmanager
def _alone(store: Store, one: Unneeded) -> Iterator[None]:
    """Hold the lock of what is removed; raises Busy at once when a run has it."""

    def somebody_has_it(_words: str) -> None:
        raise Busy

    if not one.asset:
        yield
        return
    deciding = store.root / "locks" / "models.lock"
    of_models = one.asset == IN_SERVICE
    with exclusive(deciding, "fusc gc", somebody_has_it) if of_models else contextlib.nullcontext():
        with store.exclusive(one.asset, one.batch, waiting=somebody_has_it):
            if _taken_up(store, one):
                raise Busy
            yield


def _taken_up(store: Store, one: Unneeded) -> bool:
    """Whether it came into use again since it was found."""
    if one.asset == IN_SERVICE and one.path.parent == store.root / "models":
        rows = history_rows(store)
        return not rows or str(rows[-1]["in_service"]) == one.path.name
    current = store.record(one.asset, one.batch) if one.asset else None
    return current is not None and store.place(current) == one.path


def _remove(one: Unneeded) -> int:
    """Take it out of its place in one step, then remove it: nobody sees a half of it."""
    if not one.path.exists():
        return 0
    if one.path.is_dir():
        aside = one.path.with_name(f".{one.path.name}.old-gc{os.getpid()}")
        os.replace(one.path, aside)
        if _names(one):  # a run that only looked at it, without the lock, took it up meanwhile
            os.replace(aside, one.path)
            raise Busy
        remove_folder(aside)  # a kill in the midst of it leaves nothing that could be taken for a version
    else:
        one.path.unlink()
    return one.size


def _names(one: Unneeded) -> bool:
    """Whether the output's `current` names this version."""
    current = one.path.parent / CURRENT
    return current.is_file() and current.read_text().strip() == one.path.name


def _site() -> Settings:
    return Settings.of(site_preset())
