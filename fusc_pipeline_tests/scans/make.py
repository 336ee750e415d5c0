"""Scans made for the tests: sectors with known outlines, and DICOM files in the encodings the reader promises."""

import io
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
)
from scipy import ndimage

PATIENT_NAME = "CANARY^MARYQUITECONTRARY"
PATIENT_ID = "CANARY-7741"
STUDY_UID = "1.2.826.0.1.3680043.8.498.7741"


def sector(
    height: int = 360,
    width: int = 480,
    half_angle: float = 0.6,
    r0: float = 40,
    r1: float = 320,
    apex_y: float = -10,
    apex_x: float | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """A grey picture of speckle in an annulus sector on black, and the sector's mask. Angles in radians, pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    dx, dy = x - (width / 2 if apex_x is None else apex_x), y - apex_y
    radius, angle = np.hypot(dx, dy), np.arctan2(dx, dy)
    mask = (np.abs(angle) <= half_angle) & (radius >= r0) & (radius <= r1)
    noise = ndimage.gaussian_filter(rng.rayleigh(1.0, (height, width)), 1.5)
    picture = np.clip(40 + 140 * (noise - noise.mean()) + 40, 6, 255)
    return np.where(mask, picture, 0).astype(np.uint8), mask


def as_rgb(grey: np.ndarray) -> np.ndarray:
    """Grey picture as RGB with a coloured mark, so that its channels differ."""
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgb[4:9, 4:12] = (250, 200, 10)
    return rgb


def dataset(pixels: np.ndarray, *, frames: int = 1, photometric: str | None = None, bits: int = 8) -> Dataset:
    """An ultrasound data set of `pixels`: (H, W), (H, W, 3), or with a leading frame axis when frames > 1."""
    ds = Dataset()
    ds.SOPClassUID = UltrasoundImageStorage
    ds.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    ds.StudyInstanceUID = STUDY_UID
    ds.Modality = "US"
    ds.PatientName = PATIENT_NAME
    ds.PatientID = PATIENT_ID
    ds.Manufacturer = "GE Healthcare"
    ds.ManufacturerModelName = "Voluson E8"
    shape = pixels.shape[1:] if frames > 1 else pixels.shape
    colour = len(shape) == 3
    ds.Rows, ds.Columns = shape[:2]
    ds.SamplesPerPixel = 3 if colour else 1
    if colour:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    ds.BitsAllocated = 8 if bits <= 8 else 16
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = 0
    if frames > 1:
        ds.NumberOfFrames = frames
    data = pixels.astype("<u2" if bits > 8 else np.uint8).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if bits > 8 else "OB"
    return ds


def add_region(ds: Dataset, box: tuple[int, int, int, int], *, kind: int = 1, spatial: int = 1, units: int = 3) -> None:
    """Add an item to the region sequence; box in DICOM's convention, last row and column included."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = spatial, kind
    item.RegionLocationMinX0, item.RegionLocationMinY0 = box[0], box[1]
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box[2], box[3]
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.02
    ds.SequenceOfUltrasoundRegions = [*ds.get("SequenceOfUltrasoundRegions", []), item]


def save(path: Path, ds: Dataset, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write with a preamble and file meta; big-endian pixel data of 16 bits is swapped here."""
    if syntax == ExplicitVRBigEndian and ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    pydicom.dcmwrite(
        path,
        ds,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
        overwrite=True,
    )
    return path


def jpeg_dataset(frames: list[np.ndarray], quality: int = 92) -> Dataset:
    """RGB or grey frames as encapsulated JPEG baseline."""
    streams = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        streams.append(buffer.getvalue())
    stack = np.stack(frames) if len(frames) > 1 else frames[0]
    colour = frames[0].ndim == 3
    ds = dataset(stack, frames=len(frames), photometric="YBR_FULL_422" if colour else "MONOCHROME2")
    ds.PixelData = encapsulate(streams)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def save_jpeg(path: Path, frames: list[np.ndarray]) -> Path:
    """A DICOM file with JPEG baseline frames."""
    return save(path, jpeg_dataset(frames), JPEGBaseline8Bit)
