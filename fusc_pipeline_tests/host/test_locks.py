"""Locks: one holder at a time, freed by the kernel however the holder ends, and told by name to those that wait."""

import subprocess
import sys

import pytest

from fusc_pipeline.host.locks import exclusive, holder, try_lock

HOLD = """
import sys
from fusc_pipeline.host.locks import exclusive
with exclusive(__import__("pathlib").Path(sys.argv[1]), "a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """(path of a lock, the process that holds it)."""
    path = tmp_path / "locks" / "x.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_nobody_else_has_it_and_whoever_waits_is_told_who_does(held):
    path, process = held
    with open(path) as other:
        assert not try_lock(other.fileno())
    told = []

    def waiting(sentence: str) -> None:
        told.append(sentence)
        process.stdin.close()  # lets the holder end

    with exclusive(path, "the second", waiting, poll=0.01) as waited:
        assert waited
        assert "the second" in holder(path)
    assert told == [f"waiting for a test (process {process.pid})"]


def test_a_killed_holder_frees_it(held):
    path, process = held
    process.kill()
    process.wait()
    with exclusive(path, "the next", poll=0.01) as waited:
        assert not waited


def test_a_free_lock_is_not_waited_for_and_can_be_taken_again(tmp_path):
    for _ in range(2):
        with exclusive(tmp_path / "y.lock", "me", pytest.fail) as waited:
            assert not waited


def test_an_unsigned_lock_has_a_holder_too(tmp_path):
    (tmp_path / "z.lock").write_text("")
    assert holder(tmp_path / "z.lock") == "another process"
