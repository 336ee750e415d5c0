"""What lies in the inbox and what is to be made of it: each delivered folder is ready, waits, is known, or is refused.

No dagster: which runs are started is `defs.automation.arrivals_sensor`'s part. No clock is read: a folder without a
marker is ready when it looked the same several times in a row, so that a clock that jumps confuses nobody.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.host.locks import exclusive
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.scans.files import validate_batch_key
from fusc_pipeline.scans.folder_content import folder_listing
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline.store.store import Store

IN_PART = "made in part"
MARKER = "_READY"  # put into a folder by an exporter that is done
_TEMPORARY = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", "~")
State = Literal["ready", "waiting", "unchanged", "refused"]
# What each asset of a batch must have been made from for the delivery to have gone all the way.
CHAIN: Mapping[str, tuple[str, ...]] = {
    "rejected_scans": ("scans",),
    "burned_in_text": ("scans",),
    "pseudo_labels": ("burned_in_text",),
    "clean_images": ("scans", "burned_in_text"),
}


@dataclass(frozen=True)
class ArrivalRules:
    """stable_looks: looks in a row at which a folder without a marker must be the same; per_tick: runs started by one
    look at the most; tries: runs of one delivery at the most, while they fail in ways that may pass."""

    stable_looks: int = 2
    per_tick: int = 5
    tries: int = 5

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "ArrivalRules":
        """FUSC_STABLE_LOOKS, FUSC_ARRIVALS_PER_TICK, FUSC_ARRIVAL_TRIES. Raises BadSetting for no number above 0."""
        found = os.environ if environ is None else environ
        names = {
            "stable_looks": "FUSC_STABLE_LOOKS",
            "per_tick": "FUSC_ARRIVALS_PER_TICK",
            "tries": "FUSC_ARRIVAL_TRIES",
        }
        values = {field: found[name] for field, name in names.items() if found.get(name)}
        for field_name, value in values.items():
            if not value.isdecimal() or int(value) < 1:
                raise BadSetting(f"{names[field_name]}={value!r}: give a whole number, 1 or more")
        return cls(**{name: int(value) for name, value in values.items()})


@dataclass(frozen=True)
class Arrival:
    """A delivered folder. why: in words that name neither the folder nor a file, fit for logs.

    key: the batch's; empty where the folder's name is none. content: keyed hash of what it holds, empty where it was
    not read; `folder` is private.
    """

    key: str
    folder: Path
    state: State
    why: str
    content: str = ""


@dataclass(frozen=True)
class Look:
    """One look at the inbox. told: what holds of the inbox as a whole, in words, or empty."""

    arrivals: tuple[Arrival, ...]
    told: str = ""
    memory: dict[str, Any] = field(default_factory=dict)

    def of_state(self, state: State) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.state == state]


@dataclass(frozen=True)
class Standing:
    """What stands of a batch. delivery: keyed content of the folder its frames were read from, empty where the frames
    are gone; made: whether anything stands; whole: whether all that is made of frames stands for these frames."""

    delivery: str = ""
    made: bool = False
    whole: bool = False


def standing(store: Store, batch: str) -> Standing:
    """What the store holds of the batch."""
    scans = store.record("scans", batch)
    if scans is None:
        cleaned = store.record("clean_images", batch) is not None
        return Standing(made=cleaned, whole=cleaned)
    made = {"scans": scans} | {asset: store.record(asset, batch) for asset in CHAIN}
    if any(record is not None and store.lacking(record) for record in made.values()):
        return Standing(scans.inputs.get("delivery", ""), True, False)
    whole = all(
        (after := made[asset]) is not None
        and (upstream := made[before]) is not None
        and after.inputs.get(before) == upstream.data_version
        for asset, befores in CHAIN.items()
        for before in befores
    )
    return Standing(scans.inputs.get("delivery", ""), True, whole)


def look(
    inbox: Inbox,
    keys: KeyRing,
    standing_of: Callable[[str], Standing],
    memory: Mapping[str, Any],
    rules: ArrivalRules = ArrivalRules(),
) -> Look:
    """Look once at every folder in the inbox, and at batches that were added from elsewhere.

    memory: that of the look before, {} at first; the new one is in the result. Registers and writes nothing but the
    memo of hashes (`Inbox.content`). A missing inbox, a folder that is gone or cannot be read is told, never an error.
    """
    registry = inbox.registered()
    names = {str(folder): key for key, folder in registry.items()}
    arrivals, kept, loose = [], {}, 0
    for path in _dropped(inbox.drop):
        if not path.is_dir():
            loose += 1
            continue
        one = _Folder(path, inbox, keys, rules, dict(memory.get(str(path), {})))
        arrivals.append(one.in_inbox(names, registry, standing_of))
        kept[str(path)] = one.memory
    seen = {arrival.key for arrival in arrivals}
    for key, folder in registry.items():
        if key not in seen:
            one = _Folder(folder, inbox, keys, rules, dict(memory.get(str(folder), {})))
            arrivals.append(one.from_elsewhere(key, standing_of(key), folder.parent == inbox.drop.resolve()))
            kept[str(folder)] = one.memory
    return Look(tuple(arrivals), _told(inbox.drop, loose), kept)


@contextlib.contextmanager
def looking(inbox: Inbox) -> Iterator[dict[str, Any]]:
    """The memory of the last look, while nobody else on this machine looks."""
    with exclusive(inbox.private / "arrivals.lock", "a look at the inbox"):
        yield inbox.looks()


@dataclass
class _Folder:
    """Judging one folder; `memory` holds what the look before saw of it, and is brought up to date."""

    path: Path
    inbox: Inbox
    keys: KeyRing
    rules: ArrivalRules
    memory: dict[str, Any]

    def in_inbox(self, names: Mapping[str, str], registry: Mapping[str, Path], standing_of) -> Arrival:
        real = self.path.resolve()
        if self.path.is_symlink():
            return self._is("", "refused", "a folder in the inbox is a link; `fusc arrivals` tells which")
        key = names.get(str(real), self.path.name)
        try:
            validate_batch_key(key)
        except BadInput:
            return self._is(
                "", "refused", "a folder in the inbox has a name that is no batch key; `fusc arrivals` tells which"
            )
        if registry.get(key, real) != real:
            return self._is(
                "", "refused", "a folder in the inbox has the key of another batch; `fusc arrivals` tells which"
            )
        return self._judge(key, standing_of(key))

    def from_elsewhere(self, key: str, stands: Standing, of_inbox: bool) -> Arrival:
        if not self.path.is_dir():
            if stands.made:
                return self._is(key, "unchanged", "its folder is gone; what was made of it stands")
            return self._is(key, "waiting", "its folder is gone and nothing was made of it yet: bring it back")
        if not stands.made and not of_inbox:
            return self._is(key, "waiting", f"added by hand; run: fusc run --batch {key}")
        return self._judge(key, stands)

    def _judge(self, key: str, stands: Standing) -> Arrival:
        marker = _marker(self.path)
        listing = folder_listing(self.path)
        same = self.memory.get("same", 0) + 1 if self.memory.get("listing") == listing else 1
        self.memory |= {"listing": listing, "same": same}
        content = self.memory.get("content", "") if self.memory.get("read") == listing else ""
        if not content:
            # A marker counts for one delivery: what is dropped into the folder later must come to rest by itself.
            announced = marker is not None and marker != self.memory.get("marker")
            if not announced and same < self.rules.stable_looks:
                what = "no new _READY marker" if marker else "no _READY marker"
                looks = f"looked the same {same} of {self.rules.stable_looks} times"
                return self._is(key, "waiting", f"{what}, {looks}")
            try:
                read, plain = self.inbox.content(key, self.path)
            except BadInput as refusal:
                if stands.made:
                    return self._is(key, "unchanged", f"what was made of it stands, though {refusal}")
                return self._is(key, "waiting", str(refusal))
            except FileNotFoundError:
                read = ""
            if read != listing:
                return self._is(key, "waiting", "it changed while it was looked at")
            content = self.keys.keyed("listing", plain)
            self.memory |= {"read": read, "content": content}
        # Frames may have been deleted to save space; then what was seen of the folder first is what they came from.
        gone = stands.made and not stands.delivery
        known = self.memory.setdefault("done", content) if gone else stands.delivery
        if known == content and stands.whole:
            self.memory |= {"marker": marker, "done": content}
            return self._is(key, "unchanged", "what was made of it stands", content)
        if known == content:
            return self._is(key, "ready", IN_PART, content)
        return self._is(key, "ready", "changed" if stands.made else "new", content)

    def _is(self, key: str, state: State, why: str, content: str = "") -> Arrival:
        return Arrival(key, self.path, state, why, content)


def _dropped(drop: Path) -> Iterator[Path]:
    """What lies in the inbox, but for hidden and temporary names; nothing when it is missing or cannot be listed."""
    try:
        found = sorted(drop.iterdir(), key=os.fsencode)
    except OSError:
        return
    for path in found:
        if not path.name.startswith((".", "_", "~")) and not path.name.lower().endswith(_TEMPORARY):
            yield path


def _told(drop: Path, loose: int) -> str:
    try:
        empty = not any(drop.iterdir())
    except OSError as error:
        return f"the inbox cannot be listed ({error.strerror}): is it mounted? What was delivered before stands"
    if empty:
        return "the inbox is empty: put each delivery there as a folder of its own"
    return f"files lie loose in the inbox ({loose}): put them into a folder" if loose else ""


def _marker(folder: Path) -> list[int] | None:
    """What tells one marker from another; None where there is none."""
    try:
        facts = os.lstat(folder / MARKER)
    except OSError:
        return None
    return [facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino] if stat.S_ISREG(facts.st_mode) else None
