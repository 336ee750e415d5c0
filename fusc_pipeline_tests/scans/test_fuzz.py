"""Broken files through the real path, readers in guarded processes: no crash, no stall, none over 2 GB, none lost."""

import multiprocessing
import resource
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest

from fusc_pipeline.scans.batch import Rejection, Report, ScanRow, iter_batch
from fusc_pipeline.scans.frames import REASONS
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline_tests.scans.fuzz import MUTATIONS, mutant

KEYS = KeyRing(b"0123456789abcdef0123456789abcdef")
SEED = 2026
GIGABYTE = 1 << 20  # in the KiB of ru_maxrss


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_broken_file_is_taken_or_refused(tmp_path, count):
    done = {}
    for number in range(count):
        done[f"{number:05d}"], content = mutant(SEED, number)
        (tmp_path / f"{number:05d}").write_bytes(content)
    # In a process of its own: the peak of "children" is that of every child a process ever had, and a forked child
    # starts with its parent's, so in the process of a whole test run it would speak of other tests.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        accounted, refused_as, names, peak = apart.submit(_read, tmp_path).result()
    reasons = Counter(refused_as.values())
    assert set(reasons) <= set(REASONS)
    assert accounted == set(names)
    assert len(accounted) == count
    lost = [done[names[key]] for key, reason in refused_as.items() if reason in ("reader_died", "too_slow")]
    assert not lost
    assert 0 < peak < 2 * GIGABYTE
    # Most kinds of damage were met, so that this is no test of one refusal.
    assert len(reasons) >= 8
    print(f"{count} broken files: {dict(reasons.most_common())}")


def _read(batch):
    """The keys accounted for, key -> reason of those refused, key -> file, and the largest reader's peak in KiB."""
    report, accounted, refused_as = Report(), set(), {}
    for outcome in iter_batch(batch, KEYS, workers=2, report=report):
        assert isinstance(outcome, ScanRow | Rejection)
        accounted.add(outcome.row["file_key"])
        if isinstance(outcome, Rejection):
            refused_as[outcome.row["file_key"]] = outcome.row["reason"]
    return accounted, refused_as, report.names, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def test_a_mutant_is_always_the_same():
    for number in range(len(MUTATIONS)):
        assert mutant(7, number) == mutant(7, number)
    assert mutant(7, 3) != mutant(8, 3)
