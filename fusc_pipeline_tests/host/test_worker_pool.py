"""guarded_map and ordered_map: order, lazy input, workers that die, stall, swell or raise, with work that does so."""

import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fusc_pipeline.base.errors import BadSetting, FuscError
from fusc_pipeline.host.worker_pool import Lost, WorkerLost, guarded_map, ordered_map

DIES, DIES_ONCE, STALLS, SWELLS, RAISES, UNSENDABLE = -1, -2, -3, -4, -5, -6


class Unsendable(Exception):
    """Cannot be made again from what pickle keeps of it."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def work(folder: str | None, item: int) -> int:
    if item == DIES:
        os._exit(9)
    if item == DIES_ONCE and not (Path(folder) / "seen").exists():
        (Path(folder) / "seen").touch()
        os._exit(9)
    if item == STALLS:
        time.sleep(600)
    if item == SWELLS:
        np.ones(3_000_000_000, np.uint8)
    if item == RAISES:
        raise ValueError("thirteen")
    if item == UNSENDABLE:
        raise Unsendable(1, 2)
    return item * item


def prepared(folder: str | None = None):
    return partial(work, folder)


def refuses():
    raise BadSetting("nothing there")


def crashes():
    os._exit(3)


def square(x: int) -> int:
    return work(None, x)


@pytest.mark.parametrize("workers", [1, 3])
def test_order_is_kept(workers):
    assert list(guarded_map(prepared, range(40), workers)) == [x * x for x in range(40)]


def test_what_goes_wrong_with_one_item_costs_that_item(tmp_path):
    items = [1, DIES, 2, STALLS, 3, RAISES, SWELLS, DIES_ONCE, 4]
    results = list(guarded_map(partial(prepared, str(tmp_path)), items, 2, memory_limit=1_000_000_000, seconds=3.0))
    assert [None if isinstance(result, Lost) else result for result in results] == [
        1, None, 4, None, 9, None, None, DIES_ONCE**2, 16,
    ]  # fmt: skip
    died, stalled, raised, swelled = (result for result in results if isinstance(result, Lost))
    assert died == Lost(DIES, too_slow=False, attempts=2, exit_code=9)
    assert (stalled.too_slow, stalled.attempts, stalled.exit_code) == (True, 1, -9)
    assert (raised.attempts, type(raised.error)) == (2, ValueError)
    assert "thirteen" in raised.error.__notes__[0]
    assert (swelled.attempts, isinstance(swelled.error, MemoryError)) == (2, True)


def test_limits_reach_the_worker():
    assert list(guarded_map(limits_of, [0], 1, memory_limit=3_000_000_000)) == [(3_000_000_000, "1")]


def limits_of():
    return limits_of_item


def limits_of_item(item):
    return resource.getrlimit(resource.RLIMIT_DATA)[0], os.environ["OMP_NUM_THREADS"]


def test_the_time_limit_is_for_each_item_and_not_for_a_slow_caller():
    results = guarded_map(prepared, range(6), 1, seconds=1.5)
    found = [next(results)]
    time.sleep(2.0)
    assert found + list(results) == [x * x for x in range(6)]


def test_items_are_taken_lazily_and_workers_end_with_the_caller():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield 2

    results = guarded_map(prepared, endless(), 2)
    assert [next(results) for _ in range(5)] == [4] * 5
    results.close()
    assert len(taken) < 20


def test_an_error_that_cannot_be_sent_is_told_in_words():
    (lost,) = guarded_map(prepared, [UNSENDABLE], 1)
    assert (type(lost.error), str(lost.error)) == (RuntimeError, "Unsendable: 1 and 2")


def test_a_refusal_to_start_is_raised_here():
    with pytest.raises(BadSetting, match="nothing there"):
        list(guarded_map(refuses, [1], 1))


def test_a_crash_before_the_start_is_no_endless_loop():
    with pytest.raises(FuscError, match="exit code 3 before it was ready"):
        list(guarded_map(crashes, [1], 1))


def test_no_items_start_no_worker():
    assert list(guarded_map(crashes, [], 2)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_ordered_map(workers):
    assert list(ordered_map(square, range(12), workers)) == [x * x for x in range(12)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers):
    with pytest.raises(ValueError, match="thirteen"):
        list(ordered_map(square, [1, RAISES, 2], workers))


def test_a_dead_worker_reaches_the_caller():
    with pytest.raises(WorkerLost, match="exit code 9"):
        list(ordered_map(square, [1, DIES, 2], 2))


def test_one_worker_reads_the_stream_as_it_goes():
    taken = []

    def items():
        for x in range(100):
            taken.append(x)
            yield x

    assert next(iter(ordered_map(square, items(), 1))) == 0
    assert len(taken) == 1


def test_a_stalled_worker_does_not_outlive_a_parent_that_was_killed(tmp_path):
    script = (
        "from fusc_pipeline.host.worker_pool import guarded_map\n"
        "from fusc_pipeline_tests.host.test_worker_pool import stalls_after_telling\n"
        "from functools import partial\n"
        f"list(guarded_map(partial(stalls_after_telling, {str(tmp_path)!r}), [1], 1, seconds=1.0))\n"
    )
    (tmp_path / "main.py").write_text(f"if __name__ == '__main__':\n    {script.replace(chr(10), chr(10) + '    ')}\n")
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], env=os.environ | {"PYTHONPATH": str(root)})
    told = tmp_path / "pid"
    wait_for(told.exists)
    worker = int(told.read_text())
    parent.kill()
    parent.wait()
    wait_for(lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2])


def stalls_after_telling(folder: str):
    return partial(tell_and_stall, folder)


def tell_and_stall(folder: str, item: int) -> None:
    (Path(folder) / "writing").write_text(str(os.getpid()))
    (Path(folder) / "writing").rename(Path(folder) / "pid")
    time.sleep(600)


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
