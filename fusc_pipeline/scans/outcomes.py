"""What becomes of delivered files and frames: rows that are taken, refused or held already, each picture once.

Reading the files is `batch`'s part.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fusc_pipeline.scans.datasets import BadRow, DataSet
from fusc_pipeline.scans.delivery import Report
from fusc_pipeline.scans.files import BatchFile
from fusc_pipeline.scans.frames import RejectedScan
from fusc_pipeline.scans.identity import KeyRing

KnownFiles = Mapping[tuple[str, str], Mapping[str, int]]
"""(source_sha256, file_key) -> image_id: its frame_index, of each frame of a file whose rows are held already."""


@dataclass(frozen=True)
class ScanRow:
    """A frame that was taken; `row` has the columns of schemas.SCANS."""

    row: dict[str, Any]


@dataclass(frozen=True)
class Rejection:
    """A file or frame that was not taken; `row` has the columns of schemas.REJECTED_SCANS."""

    row: dict[str, Any]


@dataclass(frozen=True)
class Reused:
    """A file that was read before: the caller takes over its rows of `frames`, and no others."""

    source_sha256: str
    file_key: str
    frames: Mapping[str, int]  # image_id: frame_index

    @property
    def image_ids(self) -> tuple[str, ...]:
        return tuple(self.frames)


Outcome = ScanRow | Rejection | Reused


def known_files(scans: pa.Table, rejected: pa.Table) -> dict[tuple[str, str], dict[str, int]]:
    """What `iter_batch` may take over from the tables of an earlier run with the same key and settings.

    Files with a refused frame are left out: what a frame duplicates depends on the other files, so they are read again.
    """
    partly = set(rejected.column("file_key").to_pylist())
    found: dict[tuple[str, str], dict[str, int]] = {}
    columns = (scans.column(name).to_pylist() for name in ("source_sha256", "file_key", "image_id", "frame_index"))
    for source, file_key, image_id, frame_index in zip(*columns, strict=True):
        if file_key not in partly:
            found.setdefault((source, file_key), {})[image_id] = frame_index
    return found


def rejection(
    file: BatchFile, file_key: str, source: str | None, size: int, refusal: RejectedScan, frame_index: int | None = None
) -> Rejection:
    """The row of a refused file (size in bytes), or of one of its frames."""
    return Rejection(
        {
            "file_key": file_key,
            "source_sha256": source,
            "frame_index": frame_index,
            "suffix": file.suffix,
            "size_bytes": size,
            "reason": refusal.reason,
            "detail": refusal.detail,
        }
    )


def size_now(file: BatchFile) -> int:
    """Bytes of a file; 0 when it has gone since it was read."""
    try:
        return file.size_bytes
    except OSError:
        return 0


def row_rejection(row: BadRow, data_set: DataSet, keys: KeyRing, report: Report) -> Rejection:
    """A row of the data set's table, refused as if it were a file of the table's size."""
    path, sha256 = data_set.table, data_set.table_sha256
    assert path is not None and sha256 is not None  # a row is of a table
    table = BatchFile(Path(), path, row.reason, data_set.table_bytes, found=row.found)
    file_key = keys.keyed("file", b"\0".join((os.fsencode(path), b"row", str(row.line).encode())))
    report.names[file_key] = f"{path} line {row.line}: {row.name}"
    return rejection(table, file_key, sha256, data_set.table_bytes, RejectedScan(row.reason, row.found))


def without_duplicates(
    outcome: Outcome, file: BatchFile, seen: dict[str, str | None], contradicted: set[str]
) -> Iterator[Outcome]:
    """The outcome, with pictures that an earlier file of the batch had turned into rejections.

    seen: image_id -> the label that its first file's data set gives it. A picture that comes with another label goes
    into `contradicted`: neither label holds for it.
    """
    own = file.own.label if file.own else None

    def again(image_id: str) -> RejectedScan:
        first = seen[image_id]
        if own is None or first is None or own == first:
            return RejectedScan("duplicate")
        contradicted.add(image_id)
        return RejectedScan("contradiction")

    if isinstance(outcome, Rejection):
        yield outcome
        return
    if isinstance(outcome, Reused):
        kept = {image_id: index for image_id, index in outcome.frames.items() if image_id not in seen}
        seen.update(dict.fromkeys(kept, own))
        if kept:
            yield Reused(outcome.source_sha256, outcome.file_key, kept)
        for image_id, index in outcome.frames.items():
            if image_id not in kept:
                refusal = again(image_id)
                yield rejection(file, outcome.file_key, outcome.source_sha256, size_now(file), refusal, index)
        return
    row = outcome.row
    if row["image_id"] in seen:
        refusal = again(row["image_id"])
        yield rejection(file, row["file_key"], row["source_sha256"], size_now(file), refusal, row["frame_index"])
    else:
        seen[row["image_id"]] = own
        yield outcome
