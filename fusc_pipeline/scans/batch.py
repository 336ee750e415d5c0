"""A delivered folder -> rows of the tables `scans` and `rejected_scans`, in an order that depends on names only.

Which files a batch holds is `delivery`, reading them `reading`, naming patients `identity`; tables are written
elsewhere.
"""

import contextlib
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fusc_pipeline.base import hashing
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.png import encode_png
from fusc_pipeline.host.worker_pool import Lost, guarded_map
from fusc_pipeline.scans.archives import ArchiveLimits
from fusc_pipeline.scans.datasets import DataSet
from fusc_pipeline.scans.delivery import Report, deliver, private_folder
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.scans.files import BatchFile, OwnFacts, file_key_of, list_files, validate_batch_key
from fusc_pipeline.scans.frame_content import content_of_picture
from fusc_pipeline.scans.frames import Box, Frame, ReadLimits, RejectedScan
from fusc_pipeline.scans.identity import DEFAULT_SUBJECT_PATTERN, KeyRing, normalise_subject
from fusc_pipeline.scans.outcomes import (
    KnownFiles,
    Outcome,
    Rejection,
    Reused,
    ScanRow,
    known_files,
    rejection,
    row_rejection,
    size_now,
    without_duplicates,
)
from fusc_pipeline.scans.reading import read_scan

__all__ = [
    "DEFAULT_SUBJECT_PATTERN",
    "BatchFile",
    "KnownFiles",
    "Outcome",
    "Rejection",
    "Report",
    "Reused",
    "ScanRow",
    "iter_batch",
    "known_files",
    "list_files",
    "scan_file",
    "validate_batch_key",
]


_UID = re.compile(r"[0-9]+(?:\.[0-9]+){3,}")

READER_MEMORY = 2_000_000_000
"""Bytes of private memory a process that reads files may map."""


def iter_batch(
    folder: Path,
    keys: KeyRing,
    limits: ReadLimits | None = None,
    subject_pattern: str = DEFAULT_SUBJECT_PATTERN,
    known: KnownFiles | None = None,
    workers: int | None = None,
    *,
    data_set: DataSet | None = None,
    archive_limits: ArchiveLimits | None = None,
    scratch: Path | None = None,
    report: Report | None = None,
) -> Iterator[Outcome]:
    """Read a batch: one outcome per frame taken, refused file or frame, or file known already, in path order.

    Archives are opened and their members read as files, one at a time, in a private folder under `scratch`. data_set:
    what `datasets.read_data_set` made of the folder; rows of its table that are not used end as Rejections, after the
    files. report: filled on the way, complete at the end.

    subject_pattern: regular expression for the subject in a relative path (its first group, or all of it); used where
    DICOM names neither patient nor study. workers: None reads in this process; else files are read in so many guarded
    ones (0: one per core), a few ahead, in the same order, and a file that ends, stalls or swells its reader becomes a
    Rejection. A picture that comes twice is taken once, from the first file that holds it. Raises BadInput for a
    missing or empty
    folder and BadSetting for a bad pattern; anything wrong with one file becomes a Rejection and the batch goes on.
    """
    limits, known = limits or ReadLimits(), known or {}
    try:
        pattern = re.compile(subject_pattern)
    except re.error as error:
        raise BadSetting(f"subject_pattern is not a regular expression ({error}): correct it") from None
    data_set, report = data_set or DataSet(), report or Report()
    archive_limits = archive_limits or ArchiveLimits(max_member_bytes=limits.max_file_bytes)
    seen: dict[str, str | None] = {}
    held: dict[str, dict[str, Mapping[str, int]]] = {}
    for (source, file_key), frames in known.items():
        held.setdefault(file_key, {})[source] = frames
    waiting: deque[BatchFile] = deque()  # handed out to be read, outcomes not seen yet

    def jobs() -> Iterator[tuple]:
        for file in files:
            waiting.append(file)
            yield file, keys, limits, pattern, held.get(file_key_of(file, keys), {})

    with private_folder(scratch) as unpacked:
        files = deliver(folder, data_set, keys, report, unpacked, archive_limits)
        for outcomes in _in_order(jobs(), workers, _seconds(limits)):
            file = waiting.popleft()
            for outcome in outcomes:
                yield from without_duplicates(outcome, file, seen, report.contradicted)
            if file.temporary:
                file.path.unlink(missing_ok=True)
    for row in data_set.bad_rows:
        yield row_rejection(row, data_set, keys, report)


def scan_file(
    file: BatchFile, keys: KeyRing, limits: ReadLimits, pattern: re.Pattern[str], held: Mapping[str, Mapping[str, int]]
) -> list[Outcome]:
    """Outcomes of one file on its own, duplicates not looked for. Safe to run in another process.

    held: source_sha256 -> image_id: frame_index of the rows that are known for this file.
    """
    file_key = file_key_of(file, keys)
    size, source = 0, None
    outcomes: list[Outcome] = []
    try:
        size = file.size_bytes
        if file.refused:
            raise RejectedScan(file.refused, file.found)
        if size > limits.max_file_bytes:
            raise RejectedScan("too_large", f"{size} bytes, more than {limits.max_file_bytes}")
        source = hashing.sha256_file(file.path)
        if source in held:
            return [Reused(source, file_key, held[source])]
        for frame in read_scan(file.path, limits):
            facts = _file_facts(file, frame, keys, pattern) | {"file_key": file_key, "source_sha256": source}
            try:
                outcomes.append(ScanRow(_scan_row(frame, facts)))
            except NoFan as error:
                refusal = RejectedScan("no_scan", error.reason)
                outcomes.append(rejection(file, file_key, source, size, refusal, frame.frame_index))
    except RejectedScan as error:
        # Of a text file the hash could be guessed, of a picture not.
        kept = None if error.reason == "not_an_image" else source
        outcomes.append(rejection(file, file_key, kept, size, error))
    except OSError as error:
        outcomes.append(rejection(file, file_key, source, size, RejectedScan("unreadable", type(error).__name__)))
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
        "region_x0": region[0],
        "region_y0": region[1],
        "region_x1": region[2],
        "region_y1": region[3],
        "region_source": "dicom" if frame.region else "picture",
        "mm_per_px": frame.mm_per_px,
        "content": frame.content or content_of_picture(frame.pixels, region),
        "notes": "; ".join(frame.notes) or None,
    }


def _file_facts(file: BatchFile, frame: Frame, keys: KeyRing, pattern: re.Pattern[str]) -> dict[str, Any]:
    """Who the file is of: the patient its data set or DICOM names, else its study, else the subject in its path, else
    only itself."""
    own = file.own or OwnFacts()
    subject, source = own.subject, "dataset"
    if subject is None:
        subject, source = normalise_subject(frame.patient_id or ""), "dicom"
    if subject is None and frame.study_uid and _UID.fullmatch(frame.study_uid):
        # Blanking leaves the study as it was. A control character keeps it apart from any patient id.
        subject, source = "\0study\0" + frame.study_uid, "study"
    if subject is None and (match := pattern.search(file.relative)):
        subject, source = (
            normalise_subject(match.group(1) if pattern.groups and match.group(1) else match.group()),
            "path",
        )
    if subject is None:
        # A control character keeps these apart from any patient id, whatever the file is called.
        subject, source = "\0file\0" + (file.identity or os.fsencode(file.relative)).hex(), "file"
    return {
        "subject_key": keys.keyed("subject", subject),
        "subject_source": source,
        "study_key": keys.keyed("study", frame.study_uid) if frame.study_uid else None,
        "machine": frame.machine or own.machine,
        "own_label": own.label,
        "own_split": own.split,
    }


def _in_order(jobs: Iterator[tuple], workers: int | None, seconds: float) -> Iterator[list[Outcome]]:
    """scan_file over the jobs, in order; in worker processes at most a few results wait in memory."""
    if workers is None:
        yield from itertools.starmap(scan_file, jobs)
        return
    found = guarded_map(_reader, jobs, workers, memory_limit=READER_MEMORY, seconds=seconds)
    with contextlib.closing(found) as results:
        for result in results:
            yield [_lost_file(result)] if isinstance(result, Lost) else result


def _reader() -> Callable[[tuple], list[Outcome]]:
    # Decoders write to the error stream by themselves, past every filter; what they say may quote the file.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    return _scan_job


def _scan_job(job: tuple) -> list[Outcome]:
    return scan_file(*job)


def _seconds(limits: ReadLimits) -> float:
    """Wall time a file may take: a frame takes 0.05 s, so one per frame leaves room for a busy machine."""
    return max(10.0, 1.0 * limits.frames_per_clip)


def _lost_file(lost: Lost) -> Rejection:
    """A file that no reader gave back."""
    file, keys = lost.item[:2]
    if lost.too_slow:
        reason = "too_slow"
    else:
        reason = "too_much_memory" if isinstance(lost.error, MemoryError) else "reader_died"
    return rejection(file, file_key_of(file, keys), None, size_now(file), RejectedScan(reason))
