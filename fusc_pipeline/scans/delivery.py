"""What a delivered folder holds, file by file: archives opened, and what a data set says of its images beside them.

Reading the files is `batch`'s part; the archives' formats are in `archives`, the data sets' layouts in `datasets`.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusc_pipeline.scans.archives import ArchiveLimits, archive_kind, unpack
from fusc_pipeline.scans.datasets import DataSet
from fusc_pipeline.scans.files import BatchFile, file_key_of, list_delivered
from fusc_pipeline.scans.identity import KeyRing


@dataclass
class Report:
    """What was met on the way. names: file_key -> path in the batch, private to the data's owner.

    delivered: files and members of archives, without those in passed_over: path in the batch, private as well -> why
    it is no scan to be read. archives: how many were opened. contradicted: image_ids that came with two labels of their
    data set's; their rows carry the first one's, which the caller takes off.
    """

    names: dict[str, str] = field(default_factory=dict)
    delivered: int = 0
    archives: int = 0
    passed_over: dict[str, str] = field(default_factory=dict)
    contradicted: set[str] = field(default_factory=set)


@contextlib.contextmanager
def private_folder(scratch: Path | None) -> Iterator[Path]:
    """A folder for unpacked members (mode 0700) under `scratch`, or the system's; gone at the end, with all in it.

    What a killed process left there is removed first.
    """
    if scratch is not None:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(scratch)
    unpacked = Path(tempfile.mkdtemp(prefix=f"fusc-{os.getpid()}-", dir=scratch))
    try:
        yield unpacked
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def deliver(
    folder: Path, data_set: DataSet, keys: KeyRing, report: Report, unpacked: Path, limits: ArchiveLimits
) -> Iterator[BatchFile]:
    """The files of a batch in path order, members in their archive's place and order; refused ones are marked so.

    Members lie in the folder `unpacked`, also after this has ended, until the caller deletes them. The data set's own
    table is no delivered file.
    """
    for number, listed in enumerate(list_delivered(folder)):
        for file in _opened(listed, unpacked / str(number), limits, report):
            if file.passed_over:
                report.passed_over[file.relative] = file.passed_over
                continue
            if data_set.is_table(file.relative):
                if file.temporary:
                    file.path.unlink()
                continue
            report.delivered += 1
            report.names[file_key_of(file, keys)] = file.relative
            yield replace(file, own=data_set.facts_of(file.relative))


def _sweep(scratch: Path) -> None:
    for left in scratch.glob("fusc-*-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)


def _opened(file: BatchFile, unpacked: Path, limits: ArchiveLimits, report: Report) -> Iterator[BatchFile]:
    """The file itself, or the members of an archive."""
    try:
        kind = None if file.refused or file.passed_over else archive_kind(file.path)
    except OSError:
        kind = None  # whoever reads the file meets the same error and says so
    if kind is None:
        yield file
        return
    unpacked.mkdir(mode=0o700)
    report.archives += 1
    yield from unpack(file, kind, unpacked, limits)
