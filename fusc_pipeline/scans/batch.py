"""A delivered folder -> rows of the tables `scans` and `rejected_scans`, in an order that depends on names only.

Which files a batch holds is `files`, reading them `reading`, naming patients `identity`; tables are written elsewhere.
"""

import itertools
import os
import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fusc_pipeline import hashing
from fusc_pipeline.errors import BadSetting
from fusc_pipeline.png import encode_png
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.scans.files import BatchFile, file_key_of, file_keys, list_files, validate_batch_key
from fusc_pipeline.scans.frames import Box, Frame, ReadLimits, RejectedScan
from fusc_pipeline.scans.identity import KeyRing, normalise_subject
from fusc_pipeline.scans.reading import read_scan

__all__ = [
    "DEFAULT_SUBJECT_PATTERN",
    "BatchFile",
    "KnownFiles",
    "Outcome",
    "Rejection",
    "Reused",
    "ScanRow",
    "file_keys",
    "iter_batch",
    "known_files",
    "list_files",
    "scan_file",
    "validate_batch_key",
]

DEFAULT_SUBJECT_PATTERN = r"(?i)(?<![a-z])(?:patient|subject|case|pat|sub)[-_ ]?\d+"

KnownFiles = Mapping[tuple[str, str], Collection[str]]
"""(source_sha256, file_key) -> image_ids of a file whose rows are held already."""


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
    """A file that was read before: the caller carries over its rows of `image_ids` and no others."""

    source_sha256: str
    file_key: str
    image_ids: tuple[str, ...]


Outcome = ScanRow | Rejection | Reused


def known_files(scans: pa.Table, rejected: pa.Table) -> dict[tuple[str, str], tuple[str, ...]]:
    """What `iter_batch` may take over from the tables of an earlier run with the same key and settings.

    Files with a refused frame are left out: what a frame duplicates depends on the other files, so they are read again.
    """
    partly = set(rejected.column("file_key").to_pylist())
    found: dict[tuple[str, str], list[str]] = {}
    columns = (scans.column(name).to_pylist() for name in ("source_sha256", "file_key", "image_id"))
    for source, file_key, image_id in zip(*columns, strict=True):
        if file_key not in partly:
            found.setdefault((source, file_key), []).append(image_id)
    return {file: tuple(ids) for file, ids in found.items()}


def iter_batch(
    folder: Path,
    keys: KeyRing,
    limits: ReadLimits | None = None,
    subject_pattern: str = DEFAULT_SUBJECT_PATTERN,
    known: KnownFiles | None = None,
    executor: Executor | None = None,
) -> Iterator[Outcome]:
    """Read a batch: one outcome per frame taken, refused file or frame, or file known already, in path order.

    subject_pattern: regular expression for the subject in a relative path (its first group, or all of it); used where
    DICOM names no patient. executor: files are read in its workers, a few ahead, in the same order. A picture that
    comes twice is taken once, from the first file that holds it. Raises BadInput for a missing or empty folder and
    BadSetting for a bad pattern; anything wrong with one file becomes a Rejection and the batch goes on.
    """
    limits, known = limits or ReadLimits(), known or {}
    try:
        pattern = re.compile(subject_pattern)
    except re.error as error:
        raise BadSetting(f"subject_pattern is not a regular expression ({error}): correct it") from None
    files = list_files(folder)
    seen: set[str] = set()
    held: dict[str, dict[str, Collection[str]]] = {}
    for (source, file_key), image_ids in known.items():
        held.setdefault(file_key, {})[source] = image_ids
    jobs = ((file, keys, limits, pattern, held.get(file_key_of(file, keys), {})) for file in files)
    for file, outcomes in zip(files, _in_order(jobs, executor), strict=True):
        for outcome in outcomes:
            yield from _without_duplicates(outcome, file, seen)


def scan_file(
    file: BatchFile, keys: KeyRing, limits: ReadLimits, pattern: re.Pattern[str], held: Mapping[str, Collection[str]]
) -> list[Outcome]:
    """Outcomes of one file on its own, duplicates not looked for. Safe to run in another process.

    held: source_sha256 -> image_ids of the rows that are known for this file.
    """
    file_key = file_key_of(file, keys)
    size, source = 0, None
    outcomes: list[Outcome] = []
    try:
        size = os.lstat(file.path).st_size
        if file.refused:
            raise RejectedScan(file.refused)
        if size > limits.max_file_bytes:
            raise RejectedScan("too_large", f"{size} bytes, more than {limits.max_file_bytes}")
        size = os.stat(file.path).st_size
        source = hashing.sha256_file(file.path)
        if source in held:
            return [Reused(source, file_key, tuple(held[source]))]
        for frame in read_scan(file.path, limits):
            facts = _file_facts(file, frame, keys, pattern) | {"file_key": file_key, "source_sha256": source}
            try:
                outcomes.append(ScanRow(_scan_row(frame, facts)))
            except NoFan as error:
                refusal = RejectedScan("no_scan", error.reason)
                outcomes.append(_rejection(file, file_key, source, size, refusal, frame.frame_index))
    except RejectedScan as error:
        outcomes.append(_rejection(file, file_key, source, size, error))
    except OSError as error:
        outcomes.append(_rejection(file, file_key, source, size, RejectedScan("unreadable", type(error).__name__)))
    return outcomes


def _scan_row(frame: Frame, facts: dict[str, Any]) -> dict[str, Any]:
    """The row of one frame. The picture is searched for the fan only where DICOM gives no region. Raises NoFan."""
    region: Box = frame.region or find_fan(frame.pixels).box
    height, width = frame.pixels.shape[:2]
    return facts | {
        "image_id": hashing.image_id(frame.pixels),
        "png": encode_png(frame.pixels),
        "height": height,
        "width": width,
        "frame_index": frame.frame_index,
        "n_frames": frame.n_frames,
        "source_format": frame.source_format,
        "transfer_syntax": frame.transfer_syntax,
        "photometric": frame.photometric,
        "machine": frame.machine,
        "region_x0": region[0],
        "region_y0": region[1],
        "region_x1": region[2],
        "region_y1": region[3],
        "region_source": "dicom" if frame.region else "picture",
        "mm_per_px": frame.mm_per_px,
    }


def _file_facts(file: BatchFile, frame: Frame, keys: KeyRing, pattern: re.Pattern[str]) -> dict[str, Any]:
    """Who the file is of: DICOM's patient id, else the subject its path names, else the file on its own."""
    subject, source = normalise_subject(frame.patient_id or ""), "dicom"
    if subject is None and (match := pattern.search(file.relative)):
        subject, source = (
            normalise_subject(match.group(1) if pattern.groups and match.group(1) else match.group()),
            "path",
        )
    if subject is None:
        # A control character keeps these apart from any patient id, whatever the file is called.
        subject, source = "\0file\0" + os.fsencode(file.relative).hex(), "file"
    return {
        "subject_key": keys.keyed("subject", subject),
        "subject_source": source,
        "study_key": keys.keyed("study", frame.study_uid) if frame.study_uid else None,
    }


def _rejection(
    file: BatchFile, file_key: str, source: str | None, size: int, refusal: RejectedScan, frame_index: int | None = None
) -> Rejection:
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


def _without_duplicates(outcome: Outcome, file: BatchFile, seen: set[str]) -> Iterator[Outcome]:
    """The outcome, with pictures that an earlier file of the batch had turned into rejections."""
    if isinstance(outcome, Rejection):
        yield outcome
        return
    if isinstance(outcome, Reused):
        kept = tuple(image_id for image_id in outcome.image_ids if image_id not in seen)
        seen.update(kept)
        if kept:
            yield Reused(outcome.source_sha256, outcome.file_key, kept)
        repeats = len(outcome.image_ids) - len(kept)
        if repeats:
            size = os.stat(file.path).st_size
            refusal = RejectedScan("duplicate", f"{repeats} of its frames")
            yield _rejection(file, outcome.file_key, outcome.source_sha256, size, refusal)
        return
    row = outcome.row
    if row["image_id"] in seen:
        size = os.stat(file.path).st_size
        yield _rejection(
            file, row["file_key"], row["source_sha256"], size, RejectedScan("duplicate"), row["frame_index"]
        )
    else:
        seen.add(row["image_id"])
        yield outcome


def _in_order(jobs: Iterator[tuple], executor: Executor | None) -> Iterator[list[Outcome]]:
    """scan_file over the jobs, in order; with an executor at most a few results wait in memory."""
    if executor is None:
        yield from itertools.starmap(scan_file, jobs)
        return
    ahead = 4 * (getattr(executor, "_max_workers", None) or 1)
    waiting: deque = deque(executor.submit(scan_file, *job) for job in itertools.islice(jobs, ahead))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(executor.submit(scan_file, *job) for job in itertools.islice(jobs, 1))
