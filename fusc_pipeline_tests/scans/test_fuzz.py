"""Broken files through the real path, readers in guarded processes: no crash, no stall, none over 2 GB, none lost."""

import resource
from collections import Counter

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
    report, accounted, refused_as, reasons = Report(), set(), {}, Counter()
    for outcome in iter_batch(tmp_path, KEYS, workers=2, report=report):
        assert isinstance(outcome, ScanRow | Rejection)
        accounted.add(outcome.row["file_key"])
        if isinstance(outcome, Rejection):
            assert outcome.row["reason"] in REASONS
            reasons[outcome.row["reason"]] += 1
            refused_as[outcome.row["file_key"]] = outcome.row["reason"]
    assert accounted == set(report.names)
    assert len(accounted) == count
    lost = [done[report.names[key]] for key, reason in refused_as.items() if reason in ("reader_died", "too_slow")]
    assert not lost
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 * GIGABYTE
    # Most kinds of damage were met, so that this is no test of one refusal.
    assert len(reasons) >= 8
    print(f"{count} broken files: {dict(reasons.most_common())}")


def test_a_mutant_is_always_the_same():
    for number in range(len(MUTATIONS)):
        assert mutant(7, number) == mutant(7, number)
    assert mutant(7, 3) != mutant(8, 3)
