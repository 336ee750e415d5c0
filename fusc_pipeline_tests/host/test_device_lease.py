"""Leases: one holder a device, told by name, freed with the process; never a card that an inherited mask hides."""

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.host import device_lease
from fusc_pipeline.host.device_lease import CPU, installed_cards, leased, lock_folder, visible_devices

CARDS = ["GPU-aa11", "GPU-aa22", "GPU-bb33"]
HOLDER = """
import sys, time
from fusc_pipeline.host.device_lease import leased
with leased("simclr_encoder of run 1a2b", cards=lambda: []):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSC_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device_lease, "_mine", device_lease._Mine())
    monkeypatch.setattr(device_lease, "POLL_SECONDS", 0.02)


@pytest.fixture
def other():
    """Another process that holds the CPU."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_two_processes_take_turns_and_sigkill_frees(other):
    told = []

    def kill(words):
        told.append(words)
        other.send_signal(signal.SIGKILL)

    with leased("kmeans", device="cpu", waiting=kill) as held:
        assert held.devices == (CPU,) and held.kind == "cpu" and held.environment == {}
    who = f"waiting for device cpu, held by simclr_encoder of run 1a2b (process {other.pid})"
    assert told == [who]


def test_a_lease_is_held_against_others_until_the_block_ends():
    asked = [sys.executable, "-c", HOLDER.replace("time.sleep(60)", "pass")]
    with leased("this test", device="cpu"):
        waiter = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        assert waiter.poll() is None
    assert waiter.communicate(timeout=30)[0] == "held\n"


def test_within_a_process_it_is_held_again_for_nothing():
    def never(words):
        raise AssertionError(words)

    with leased("outer", device="cpu", waiting=never), leased("inner", device="cpu", waiting=never):
        pass
    assert device_lease._mine.held == {}


def test_a_card_is_the_only_one_the_process_then_sees_and_it_stays_with_it(monkeypatch):
    cards = lambda: CARDS  # noqa: E731
    with leased("first", cards=cards) as first:
        assert first.kind == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aa11"
        with leased("trainers", count=0, cards=cards) as all_of_them:
            assert all_of_them.environment == {"CUDA_VISIBLE_DEVICES": "GPU-aa11,GPU-aa22,GPU-bb33"}
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aa11"
    with leased("second", cards=cards) as second:
        assert second.devices == first.devices
    # Another process, started by this one, sees one card.
    assert [device.name for device in visible_devices(os.environ["CUDA_VISIBLE_DEVICES"], cards())] == ["GPU-aa11"]


def test_the_first_free_card_is_taken_and_all_are_waited_for(monkeypatch):
    code = HOLDER.replace("lambda: []", f"lambda: {CARDS}")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with leased("this test", cards=lambda: CARDS) as held:
            assert held.devices[0].name == "GPU-aa22"
        told = []
        monkeypatch.setattr(device_lease, "_mine", device_lease._Mine())
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")

        def kill(words):
            told.append(words)
            process.kill()

        with leased("trainers", count=3, cards=lambda: CARDS, waiting=kill) as held:
            assert len(held.devices) == 3
        assert told[0].startswith("waiting for 3 of 3 devices; GPU-aa11 is held by simclr_encoder of run 1a2b")
    finally:
        process.kill()
        process.communicate()


def test_more_cards_than_there_are_is_refused():
    with pytest.raises(BadSetting, match="4 devices are asked for, 3 are visible"):
        with leased("trainers", count=4, cards=lambda: CARDS):
            pass


def test_a_cpu_has_one_slot_however_many_processes_share_it():
    with leased("two ranks", count=2, cards=lambda: []) as held:
        assert held.devices == (CPU,)


MASKS = [
    (None, CARDS),
    ("", []),
    ("-1", []),
    ("NoDevFiles", []),
    ("0", CARDS[:1]),
    ("2,0", [CARDS[2], CARDS[0]]),
    (" 1 , 2 ", CARDS[1:]),
    ("1,-1,2", CARDS[1:2]),
    ("7", []),
    ("0,7,1", CARDS[:1]),
    ("1,1", CARDS[1:2]),
    ("GPU-bb33", CARDS[2:]),
    ("GPU-b", CARDS[2:]),
    ("GPU-aa", []),  # two cards begin so
    ("GPU-aa22,0", [CARDS[1], CARDS[0]]),
    ("1,GPU-aa22", CARDS[1:2]),
    ("MIG-cc44,MIG-dd55", ["MIG-cc44", "MIG-dd55"]),
]


@pytest.mark.parametrize(("mask", "seen"), MASKS)
def test_a_mask_is_read_as_cuda_reads_it(mask, seen):
    found = visible_devices(mask, CARDS)
    assert [device.name for device in found] == seen
    if mask is not None:  # what is leased is named as the mask named it
        assert [device.token for device in found] == [part.strip() for part in mask.split(",")][: len(found)]


@pytest.mark.parametrize(("mask", "inner"), list(itertools.product([m for m, _ in MASKS], range(3))))
def test_what_a_lease_shows_lies_within_what_was_inherited(mask, inner, monkeypatch):
    """However deep processes lease, each sees a part of what its parent saw."""
    if mask is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    outside = {device.name for device in visible_devices(mask, CARDS)}
    for _ in range(inner + 1):
        monkeypatch.setattr(device_lease, "_mine", device_lease._Mine())  # as a process just started
        with leased("a step", cards=lambda: CARDS) as held:
            assert {device.name for device in held.devices} <= (outside or {"cpu"})
            seen = visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), CARDS)
            assert {device.name for device in seen} <= outside if outside or mask is not None else True
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)


def test_without_cards_nothing_is_visible():
    assert visible_devices("0,MIG-cc44", []) == [] and visible_devices(None, []) == []
    assert isinstance(installed_cards(), list)


def test_the_locks_of_another_user_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.delenv("FUSC_LOCKS")
    monkeypatch.setattr(device_lease.tempfile, "gettempdir", lambda: str(tmp_path))
    assert lock_folder().stat().st_mode & 0o777 == 0o700
    lock_folder().rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"fusc-locks-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadSetting, match="set FUSC_LOCKS"):
        lock_folder()
