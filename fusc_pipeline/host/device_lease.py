"""Leases on devices: one process computes on a card (or on the CPU) at a time, whatever data root or run it works for.

A pool of Dagster's counts steps of one instance and leaks when a run is killed; a lease is a lock (`locks`) that the
kernel frees with the process, and it names the card. Devices are told without torch, by NVIDIA's management library.

An inherited CUDA_VISIBLE_DEVICES is a limit: only what it shows is leased, and what is leased is named as it named it.
"""

import contextlib
import ctypes
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.host.locks import holder, sign, try_lock
from fusc_pipeline.host.places import named_folder, why_unusable

LOCKS, MASK = "FUSC_LOCKS", "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Device:
    """name: of its lock, the same for every process of the machine; token: what CUDA_VISIBLE_DEVICES calls it, ""
    for the CPU."""

    name: str
    token: str = ""


CPU = Device("cpu")


@dataclass(frozen=True)
class Lease:
    """The devices held."""

    devices: tuple[Device, ...]

    @property
    def kind(self) -> str:
        """ "cuda" or "cpu"."""
        return "cuda" if self.devices[0].token else "cpu"

    @property
    def environment(self) -> dict[str, str]:
        """What a process that is to see these devices only has in its environment."""
        return {MASK: ",".join(device.token for device in self.devices)} if self.kind == "cuda" else {}


class _Mine:
    """What this process holds, by device name: (open lock file, number of holders within the process)."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.held: dict[str, tuple[int, int]] = {}
        self.given: str | None = None  # CUDA_VISIBLE_DEVICES as this process inherited it
        self.settled: Device | None = None  # CUDA reads its mask once: a process stays with its first card


_mine = _Mine()


@contextlib.contextmanager
def leased(
    what: str,
    count: int = 1,
    device: str = "",
    waiting: Callable[[str], None] | None = None,
    cards: Callable[[], Sequence[str]] | None = None,
) -> Iterator[Lease]:
    """Hold `count` devices (0: every visible card), or the one slot `cpu` where there is no card or device is "cpu".

    what: who holds it, in a few words without names of patients or files. waiting: called once with a sentence when
    they are taken. A single card becomes the only one that this process sees; several are for processes it starts (see
    `Lease.environment`). Holding again what this process already holds costs nothing. Raises BadSetting when more
    cards are asked for than there are.
    """
    _remember_mask()
    found = [CPU] if device == "cpu" else visible_devices(_mine.given, (cards or installed_cards)()) or [CPU]
    if count > len(found) and found != [CPU]:
        raise BadSetting(f"{count} devices are asked for, {len(found)} are visible; lower `processes`, or 0 for all")
    wanted = 1 if found == [CPU] else count or len(found)
    if wanted == 1 and _mine.settled in found:
        found = [_mine.settled]
    taken = _wait(found, wanted, what, waiting)
    try:
        lease = Lease(taken)
        if wanted == 1 and lease.kind == "cuda":
            _mine.settled = taken[0]
            os.environ |= lease.environment
        yield lease
    finally:
        for device_held in taken:
            _release(device_held)


def visible_devices(mask: str | None, cards: Sequence[str]) -> list[Device]:
    """The cards a CUDA_VISIBLE_DEVICES of `mask` shows (None: all), of those installed (their UUIDs, by bus order).

    As CUDA reads it: numbers or UUIDs (or their beginnings); what follows the first one that is no card is not seen.
    A number is taken in bus order: set CUDA_DEVICE_ORDER=PCI_BUS_ID on a machine whose cards differ. Parts of a card
    (MIG-…) count as devices of their own.
    """
    if mask is None:
        return [Device(_lock_name(card), card) for card in cards]
    found: list[Device] = []
    for token in (part.strip() for part in mask.split(",")):
        name = _card(token, cards)
        if name is None or name in (device.name for device in found):
            break  # CUDA sees no device after a wrong or repeated one
        found.append(Device(name, token))
    return found


def _card(token: str, cards: Sequence[str]) -> str | None:
    """Lock name of the device that a mask's entry names; None when it names none."""
    if token.isdigit():
        return _lock_name(cards[int(token)]) if int(token) < len(cards) else None
    if token.startswith("MIG-") and cards:
        return _lock_name(token)
    fitting = [card for card in cards if token.startswith("GPU-") and card.startswith(token)]
    return _lock_name(fitting[0]) if len(fitting) == 1 else None


def _lock_name(card: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", card)


def installed_cards() -> list[str]:
    """UUIDs of the NVIDIA cards that this process may open, by bus order; [] without a driver. No CUDA is started."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    if library.nvmlInit_v2() != 0:
        return []
    try:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        found = []
        for index in range(count.value):
            handle, text = ctypes.c_void_p(), ctypes.create_string_buffer(96)
            # A card that another container has is counted there but cannot be opened here.
            if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
                continue
            if library.nvmlDeviceGetUUID(handle, text, 96) == 0:
                found.append(text.value.decode())
        return found
    finally:
        library.nvmlShutdown()


def lock_folder() -> Path:
    """Where the locks lie: the environment variable FUSC_LOCKS, else a folder of this user's in the system's temporary
    one. Raises BadSetting when that is another user's, or cannot be used."""
    if given := os.environ.get(LOCKS):
        folder = named_folder(LOCKS, given)
        if why := why_unusable(folder, write=True):
            raise BadSetting(f"{LOCKS}={given}: {why}; set it to a folder that this user may write")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"fusc-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise BadSetting(f"{folder} belongs to somebody else; set {LOCKS} to a folder of your own")
    return folder


def _remember_mask() -> None:
    with _mine.guard:
        if _mine.settled is None:
            _mine.given = os.environ.get(MASK)


def _wait(found: Sequence[Device], wanted: int, what: str, waiting: Callable[[str], None] | None) -> tuple[Device, ...]:
    """Take `wanted` of these devices as soon as so many are free: all or none, so that nobody waits with half."""
    told = False
    found = sorted(found, key=lambda device: device.name not in _mine.held)  # what this process has already comes first
    while True:
        taken: list[Device] = []
        for device in found:
            if len(taken) < wanted and _take(device, what):
                taken.append(device)
        if len(taken) == wanted:
            return tuple(taken)
        for device in taken:
            _release(device)
        if waiting is not None and not told:
            waiting(_whom(found, wanted, taken))
        told = True
        time.sleep(POLL_SECONDS)


def _whom(found: Sequence[Device], wanted: int, free: Sequence[Device]) -> str:
    busy = next(device for device in found if device not in free)
    held = f"held by {holder(_path(busy))}"
    if len(found) == 1:
        return f"waiting for device {busy.name}, {held}"
    return f"waiting for {wanted} of {len(found)} devices; {busy.name} is {held}"


def _path(device: Device) -> Path:
    return lock_folder() / f"{device.name}.lock"


def _take(device: Device, what: str) -> bool:
    with _mine.guard:
        handle, holders = _mine.held.get(device.name, (-1, 0))
        if not holders:
            handle = os.open(_path(device), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not try_lock(handle):
                os.close(handle)
                return False
            sign(handle, what)
        _mine.held[device.name] = (handle, holders + 1)
        return True


def _release(device: Device) -> None:
    with _mine.guard:
        handle, holders = _mine.held.pop(device.name)
        if holders > 1:
            _mine.held[device.name] = (handle, holders - 1)
        else:
            os.close(handle)
