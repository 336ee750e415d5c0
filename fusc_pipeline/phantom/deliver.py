"""A batch of phantom scans as a hospital delivers it: a folder per subject, DICOM or PNG; the truth beside the folder.

What frames look like is `render`'s part, what a DICOM file holds is `dicom_files`'.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.hashing import sha256_file
from fusc_pipeline.phantom.config import STREAM_FILE, PhantomConfig, plan
from fusc_pipeline.phantom.dicom_files import ENCODINGS, JPEG_YBR, Encoding, Facts, write_dicom
from fusc_pipeline.phantom.render import PhantomFrame, render_frame, subject_of

P_DICOM_SUBJECT = 0.65
"""Share of subjects delivered as DICOM; the others are PNG, one subject always one kind."""
P_REGION = 0.85
"""Share of DICOM files with a SequenceOfUltrasoundRegions."""

TRUTH = pa.schema(
    [
        ("source_sha256", pa.string()),  # of the delivered file's bytes
        ("file", pa.string()),  # path inside the batch's folder
        ("frame_index", pa.int32()),  # within the file, from 0
        ("index", pa.int32()),  # the frame's number in the configuration
        ("view", pa.string()),  # the anatomy shown
        ("typed_text", pa.string()),  # null: nothing typed
        ("label_view", pa.string()),  # the view a person reads from it; null: none, or two
        ("label_readable", pa.bool_()),  # whether label_view is known
        ("subject", pa.string()),  # patient id and folder name
        ("machine", pa.string()),
        ("label_x0", pa.int32()),
        ("label_y0", pa.int32()),
        ("label_x1", pa.int32()),
        ("label_y1", pa.int32()),
    ]
)


def truth_path(folder: Path) -> Path:
    """`<folder>.truth.parquet`, beside the folder: nothing that reads the batch sees it."""
    return folder.with_name(f"{folder.name}.truth.parquet")


def write_batch(folder: Path, config: PhantomConfig, n_jobs: int = 1) -> Path:
    """Write the batch into `folder` (new or empty) and its truth beside it; returns the truth table's path.

    One seed gives the same bytes, whatever `n_jobs` (processes) is. Raises BadInput when the folder holds something.
    """
    folder = Path(folder)
    return write_truth(folder, each_subject(folder, config, partial(_write_subject, folder, config), n_jobs))


def each_subject(
    folder: Path, config: PhantomConfig, write: Callable[[int], list[dict[str, object]]], n_jobs: int = 1
) -> list[dict[str, object]]:
    """`write` (picklable) called for every subject's number, in `n_jobs` processes, on a folder that is new or empty.

    Returns what the calls returned, in the order of the subjects. Raises BadInput when the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is not an empty folder; name a new one for the phantom batch, or empty it")
    folder.mkdir(parents=True, exist_ok=True)
    subjects = range(config.subjects)
    if n_jobs > 1:
        # Spawned: a forked child of a process with OpenMP or OpenCV threads can hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(n_jobs, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            return [row for part in pool.map(write, subjects) for row in part]
    return [row for subject in subjects for row in write(subject)]


def write_truth(folder: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows of TRUTH beside the folder; returns the file's path."""
    path = truth_path(folder)
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH), path)
    return path


def _write_subject(folder: Path, config: PhantomConfig, number: int) -> list[dict[str, object]]:
    """One subject's files; returns its rows of the truth."""
    layout = plan(config)
    home = folder / subject_of(config, number).name
    home.mkdir()
    rng = config.rng(STREAM_FILE, number)
    as_dicom = _is_dicom(config, number)
    rows = []
    scenes = sorted({layout.scenes[i] for i, subject in enumerate(layout.subjects) if subject == number})
    serial = 0
    for scene in scenes:
        members = layout.scene_frames[scene]
        frames = [render_frame(config, index) for index in members]
        if as_dicom:
            serial += 1
            path = home / f"IM{serial:04d}.dcm"
            _write_scene(path, frames, config, number, serial, rng)
            rows += [truth_row(path, folder, k, frame) for k, frame in enumerate(frames)]
            continue
        for frame in frames:  # PNG exports hold single frames
            serial += 1
            path = home / f"{serial:03d}.png"
            Image.fromarray(frame.screen).save(path, compress_level=3)
            rows.append(truth_row(path, folder, 0, frame))
    return rows


def _is_dicom(config: PhantomConfig, number: int) -> bool:
    """Spread evenly, so that even a set of three subjects has both kinds."""
    return (number * P_DICOM_SUBJECT + config.rng(STREAM_FILE).random()) % 1 < P_DICOM_SUBJECT


def _write_scene(
    path: Path, frames: list[PhantomFrame], config: PhantomConfig, number: int, serial: int, rng: np.random.Generator
) -> None:
    """One DICOM file; cines are JPEG, as machines store them."""
    subject = subject_of(config, number)
    encoding: Encoding = ENCODINGS[rng.choice(len(ENCODINGS), p=[share for _, share in ENCODINGS])][0]
    rows, columns = (np.flatnonzero(frames[0].fan.any(axis)) for axis in (1, 0))
    slack = int(rng.integers(0, 4))  # machines' regions are a little generous
    height, width = frames[0].fan.shape
    box = (
        max(0, int(columns[0]) - slack),
        max(0, int(rows[0]) - slack),
        min(width, int(columns[-1]) + 1 + slack),
        min(height, int(rows[-1]) + 1 + slack),
    )
    facts = Facts(
        patient_id=subject.name,
        patient_name=subject.study.patient_name,
        moment=subject.study.moment + timedelta(seconds=40 * serial),
        manufacturer=subject.machine.manufacturer,
        model=subject.machine.model,
        series=1,
        uid_seed=f"phantom {config.seed}/{number}/{serial}",
        region=box if rng.random() < P_REGION else None,
        cm_per_px=frames[0].cm_per_px,
        frames_per_second=float(rng.integers(20, 50)),
    )
    pixels = np.stack([frame.screen for frame in frames])
    write_dicom(str(path), pixels, JPEG_YBR if len(frames) > 1 else encoding, facts)


def truth_row(path: Path, folder: Path, frame_index: int, frame: PhantomFrame) -> dict[str, object]:
    """One frame's row of TRUTH."""
    box = frame.label_box or (None,) * 4
    return {
        "source_sha256": sha256_file(path),
        "file": path.relative_to(folder).as_posix(),
        "frame_index": frame_index,
        "index": frame.index,
        "view": frame.view,
        "typed_text": frame.typed_text,
        "label_view": frame.label_view,
        "label_readable": frame.label_view is not None,
        "subject": frame.subject,
        "machine": frame.machine,
        **dict(zip(("label_x0", "label_y0", "label_x1", "label_y1"), box, strict=True)),
    }
