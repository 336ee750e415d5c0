"""Marks of processes: who runs and who is gone, without a look at the clock; children that die with their parent."""

import json
import os
import subprocess
import sys
import time

import pytest

from fusc_pipeline.host.processes import ProcessMark, boot_id, command_of, is_step_process, run_worker, start_ticks

needs_proc = pytest.mark.skipif(not boot_id(), reason="no /proc on this machine")

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import time; from fusc_pipeline.host.processes import die_with_parent; die_with_parent(); "
    "print('ready', flush=True); "
    "time.sleep(60)"], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def ended(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while start_ticks(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return start_ticks(pid) is None


@needs_proc
def test_a_mark_tells_this_process_from_one_that_ended_and_from_its_successor():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = ProcessMark.of(child.pid)
    assert not mark.gone and not ProcessMark.of().gone
    assert ProcessMark.read(mark.text()) == mark
    reborn = ProcessMark(mark.host, mark.boot, mark.pid, mark.started - 1)  # an earlier process of the same number
    assert reborn.gone
    assert ProcessMark(mark.host, "another boot", os.getpid(), ProcessMark.of().started).gone
    child.kill()
    assert ended(child.pid)  # a zombie already counts as ended
    assert mark.gone
    child.communicate()


def test_a_process_of_another_machine_is_never_taken_for_gone():
    mark = ProcessMark("another machine", "boot", 1, 1)
    assert not mark.here and not mark.gone


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", json.dumps({"pid": 1})])
def test_what_is_no_mark_is_none(text):
    assert ProcessMark.read(text) is None


@needs_proc
def test_a_name_with_brackets_and_spaces_does_not_shift_the_fields(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to(sys.executable)
    child = subprocess.Popen([str(odd), "-c", "input()"], stdin=subprocess.PIPE)
    assert abs(start_ticks(child.pid) - start_ticks(os.getpid())) < 10_000_000 and start_ticks(child.pid) > 0
    child.kill()
    child.communicate()
    assert command_of(child.pid) == ""


@needs_proc
def test_a_child_dies_when_its_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert start_ticks(child) is not None
    parent.kill()
    parent.communicate()
    assert ended(child)


def test_this_process_is_its_own_worker():
    assert not is_step_process() and run_worker() == os.getpid()
