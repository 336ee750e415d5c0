"""Reading speed of 800x600 uncompressed DICOM, and memory while a batch of many frames is taken in.

    python benchmarks/ingestion.py                        # frames per CPU second and core, four variants
    python benchmarks/ingestion.py --memory               # peak memory at 1,000 and 20,000 frames (10 GB of disk)
    python benchmarks/ingestion.py --memory --sizes 200 1000 --folder /somewhere/with/space

Frames are phantom screens. Speed is CPU time of one process with one thread, from file to row: hashes, decoding, fan
(where DICOM gives no region), PNG; each file's best of `--repeats`, so that other work on the machine disturbs less.
Memory is measured in a fresh process for each size, on one phantom screen with a number drawn into it.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import pyarrow as pa
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage

from fusc_pipeline.base.schemas import SCANS
from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.scans.batch import BatchFile, Rejection, ScanRow, iter_batch, scan_file
from fusc_pipeline.scans.frames import ReadLimits
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline.store.store import Recipe, Store

HEIGHT, WIDTH = 600, 800
REGION = (100, 60, 699, 579)
KEYS = KeyRing(b"a key for a benchmark, 32 or more bytes")
NO_SUBJECT = re.compile(r"(?!)")
ROWS_PER_GROUP = 64
TARGET = 40


def write_dicom(path: Path, pixels: np.ndarray, region: bool) -> None:
    """One uncompressed ultrasound frame, with or without the sequence of ultrasound regions."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = UltrasoundImageStorage, "1.2.3", "1.2.4"
    ds.Modality, ds.PatientID = "US", "benchmark"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (1, "MONOCHROME2") if pixels.ndim == 2 else (3, "RGB")
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    if region:
        item = Dataset()
        item.RegionSpatialFormat, item.RegionDataType = 1, 1
        item.RegionLocationMinX0, item.RegionLocationMinY0 = REGION[:2]
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = REGION[2:]
        ds.SequenceOfUltrasoundRegions = [item]
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, ds, enforce_file_format=True)


def screens(count: int) -> list[np.ndarray]:
    """`count` phantom screens of 800x600, RGB."""
    config = PhantomConfig(n_frames=4 * count, n_subjects=count, seed=5)
    found = (render_frame(config, index).screen for index in range(config.n_frames))
    return [
        screen for screen, _ in zip((s for s in found if s.shape[:2] == (HEIGHT, WIDTH)), range(count), strict=False)
    ]


def speed(folder: Path, count: int, repeats: int) -> None:
    """Print frames per CPU second of each variant."""
    cv2.setNumThreads(1)
    pictures = screens(count)
    found = {}
    for colour in (False, True):
        for region in (True, False):
            files = []
            for number, picture in enumerate(pictures):
                path = folder / f"{colour:d}{region:d}{number}"
                write_dicom(path, picture if colour else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), region)
                files.append(BatchFile(path, path.name))
            found[colour, region] = sum(min(one_file(file) for _ in range(repeats)) for file in files) / len(files)
    print(f"{count} frames of {WIDTH}x{HEIGHT}, CPU time of one process, best of {repeats}; target {TARGET}/s")
    print(f"{'':14}{'ms a frame':>12}{'frames/s':>10}{'of target':>11}")
    for (colour, region), seconds in found.items():
        name = f"{'RGB' if colour else 'grey'}, {'' if region else 'no '}region"
        print(f"{name:14}{1000 * seconds:>12.1f}{1 / seconds:>10.1f}{1 / seconds / TARGET:>10.2f}x")


def one_file(file: BatchFile) -> float:
    """CPU seconds from a file to its row."""
    start = time.process_time()
    (outcome,) = scan_file(file, KEYS, ReadLimits(), NO_SUBJECT, {})
    seconds = time.process_time() - start
    if not isinstance(outcome, ScanRow):
        raise SystemExit(f"a frame of the benchmark was refused: {outcome.row['reason']}")
    return seconds


def take_in(work: Path, count: int, workers: int) -> None:
    """Take in `count` different frames as the `scans` asset does, and print this process's peak memory."""
    inbox = work / "inbox"
    inbox.mkdir(parents=True)
    write_dicom(work / "one", cv2.cvtColor(screens(1)[0], cv2.COLOR_RGB2GRAY), region=True)
    content = bytearray((work / "one").read_bytes())
    for number in range(count):
        content[-8:] = number.to_bytes(8, "little")
        (inbox / f"{number:06d}").write_bytes(content)
    before = peak(resource.RUSAGE_SELF)
    rejected = 0

    def tables():
        nonlocal rejected
        rows = []
        for outcome in iter_batch(inbox, KEYS, workers=workers):
            if isinstance(outcome, Rejection):
                rejected += 1
            else:
                rows.append(outcome.row)
            if len(rows) == ROWS_PER_GROUP:
                yield pa.Table.from_pylist(rows, schema=SCANS)
                rows = []
        yield pa.Table.from_pylist(rows, schema=SCANS)

    start = time.monotonic()
    with Store(work / "data").write("scans", "benchmark", Recipe("benchmark"), {"frames": str(count)}) as draft:
        taken = draft.write_table(tables())
    seconds = time.monotonic() - start
    print(
        f"{count:>8} frames: peak {peak(resource.RUSAGE_SELF):.0f} MB (before {before:.0f} MB), "
        f"largest worker {peak(resource.RUSAGE_CHILDREN):.0f} MB, {taken} taken, {rejected} rejected, "
        f"{seconds:.0f} s ({count / seconds:.0f} frames/s wall, {workers} workers)",
        flush=True,
    )


def peak(who: int) -> float:
    """Largest resident memory so far, in MB."""
    return resource.getrusage(who).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24, help="frames of the speed measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 20_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where frames are written and removed again")
    parser.add_argument("--take-in", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.take_in:
            take_in(Path(folder), options.take_in, options.workers)
        elif options.memory:
            for size in options.sizes:
                command = [sys.executable, __file__, "--take-in", str(size), "--workers", str(options.workers)]
                subprocess.run(command + (["--folder", str(options.folder)] if options.folder else []), check=True)
        else:
            speed(Path(folder), options.frames, options.repeats)


if __name__ == "__main__":
    main()
