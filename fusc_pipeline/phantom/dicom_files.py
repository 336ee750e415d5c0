"""Phantom pixels as DICOM ultrasound files in several transfer syntaxes. Identities and dates are made up.

Everything that goes into a file comes from its arguments, so that one seed gives the same bytes.
"""

import datetime
import io
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

JPEG_QUALITY = 92
TIFF_STRIP_OFFSETS, TIFF_STRIP_SIZES = 273, 279
UID_ROOT = "1.2.826.0.1.3680043.8.498."
"""pydicom's root, free for made-up UIDs."""


@dataclass(frozen=True)
class Encoding:
    """How a file's pixels are stored: a transfer syntax UID and DICOM's photometric interpretation."""

    syntax: str
    photometric: str


EXPLICIT_RGB = Encoding(ExplicitVRLittleEndian, "RGB")
IMPLICIT_RGB = Encoding(ImplicitVRLittleEndian, "RGB")
RLE_RGB = Encoding(RLELossless, "RGB")
JPEG_YBR = Encoding(JPEGBaseline8Bit, "YBR_FULL_422")
GREY = Encoding(ExplicitVRLittleEndian, "MONOCHROME2")
RLE_GREY = Encoding(RLELossless, "MONOCHROME2")
PALETTE = Encoding(ExplicitVRLittleEndian, "PALETTE COLOR")

ENCODINGS: tuple[tuple[Encoding, float], ...] = (
    (EXPLICIT_RGB, 0.2),
    (IMPLICIT_RGB, 0.12),
    (RLE_RGB, 0.16),
    (JPEG_YBR, 0.32),
    (GREY, 0.08),
    (RLE_GREY, 0.06),
    (PALETTE, 0.06),
)
"""With the share of files each gets."""


@dataclass(frozen=True)
class Facts:
    """What the header says. region: the picture's box in pixels (x0, y0, x1, y1) or None: no region sequence."""

    patient_id: str
    patient_name: str  # "Lindqvist Anna"
    moment: datetime.datetime
    manufacturer: str
    model: str
    series: int
    uid_seed: str
    region: tuple[int, int, int, int] | None
    cm_per_px: float
    frames_per_second: float


def write_dicom(path: str, frames: np.ndarray, encoding: Encoding, facts: Facts) -> None:
    """Write (N, H, W, 3) uint8 RGB frames to one file; N > 1 makes a cine."""
    cine = len(frames) > 1
    sop_class = UltrasoundMultiFrameImageStorage if cine else UltrasoundImageStorage
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(_uid(facts, "instance"))
    meta.TransferSyntaxUID = UID(encoding.syntax)
    ds = FileDataset(path, Dataset(), file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(facts, "study"), _uid(facts, f"series {facts.series}")
    date, time = f"{facts.moment:%Y%m%d}", f"{facts.moment:%H%M%S}"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = date
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = time
    ds.AccessionNumber = f"A{date[2:]}{facts.patient_id[-4:]}"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "US", facts.manufacturer, facts.model
    ds.InstitutionName = "Phantom Women's Hospital"
    ds.StudyDescription = "Second trimester anomaly scan"
    ds.PatientName = facts.patient_name.replace(" ", "^")
    ds.PatientID, ds.PatientBirthDate, ds.PatientSex = facts.patient_id, "19900101", "F"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", facts.series, 1
    if facts.region is not None:
        ds.SequenceOfUltrasoundRegions = Sequence([_region(facts)])
    if cine:
        ds.NumberOfFrames = len(frames)
        ds.FrameTime = round(1000 / facts.frames_per_second, 3)
        ds.FrameIncrementPointer = 0x00181063
    ds.BurnedInAnnotation = "YES"
    _pixels(ds, frames, encoding)
    ds.save_as(path, enforce_file_format=True)


def _uid(facts: Facts, what: str) -> str:
    """An instance's UID differs in each file, a study's is the subject's."""
    key = facts.uid_seed if what == "instance" else facts.uid_seed.rsplit("/", 1)[0]
    return generate_uid(prefix=UID_ROOT, entropy_srcs=[key, what])


def _region(facts: Facts) -> Dataset:
    """One 2-D tissue region calibrated in centimetres (PS3.3 C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    assert facts.region is not None
    x0, y0, x1, y1 = facts.region
    region.RegionLocationMinX0, region.RegionLocationMinY0 = x0, y0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = x1 - 1, y1 - 1  # DICOM's are inclusive
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = facts.cm_per_px
    return region


def _pixels(ds: FileDataset, frames: np.ndarray, encoding: Encoding) -> None:
    """Pixel data and the attributes that describe it."""
    ds.Rows, ds.Columns = frames.shape[1:3]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PhotometricInterpretation = encoding.photometric
    if encoding.photometric in ("RGB", "YBR_FULL_422"):
        ds.SamplesPerPixel, ds.PlanarConfiguration, stored = 3, 0, frames
    elif encoding.photometric == "MONOCHROME2":
        ds.SamplesPerPixel = 1
        stored = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in frames])
    else:
        ds.SamplesPerPixel = 1
        stored = _palette(ds, frames)
    if encoding.syntax == JPEGBaseline8Bit:
        ds.PixelData = encapsulate([_jpeg(frame) for frame in stored])
        ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
        ds.LossyImageCompressionRatio = round(stored.nbytes / max(1, len(ds.PixelData)), 2)
    elif encoding.syntax == RLELossless:
        ds.PixelData = encapsulate([_rle(frame) for frame in stored])
    else:
        data = stored.tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if encoding.syntax != ImplicitVRLittleEndian else "OW"


def _rle(frame: np.ndarray) -> bytes:
    """One frame, (H, W) or (H, W, 3), as DICOM RLE (PS3.5 annex G): a header, then each channel's rows in PackBits.

    TIFF's PackBits is the same code, row by row, and libtiff writes it a hundred times faster than pydicom's encoder.
    """
    segments = []
    for channel in np.moveaxis(np.atleast_3d(frame), 2, 0):
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(channel)).save(stream, "TIFF", compression="packbits")
        strips = cast(TiffImageFile, Image.open(stream)).tag_v2
        data = stream.getvalue()
        places = zip(strips[TIFF_STRIP_OFFSETS], strips[TIFF_STRIP_SIZES], strict=True)
        segment = b"".join(data[at : at + size] for at, size in places)
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = 64 + np.cumsum([0, *map(len, segments[:-1])])
    header = np.zeros(16, "<u4")
    header[: len(segments) + 1] = [len(segments), *offsets]
    return header.tobytes() + b"".join(segments)


def _jpeg(frame: np.ndarray) -> bytes:
    """One frame as baseline JPEG with 4:2:2 chroma, as DICOM's YBR_FULL_422 says."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")
    return stream.getvalue()


def _palette(ds: FileDataset, frames: np.ndarray) -> np.ndarray:
    """(N, H, W) indices into one palette of 256 colours for all frames; sets its attributes (16 bits a colour)."""
    n, height, width, _ = frames.shape
    image = Image.fromarray(frames.reshape(n * height, width, 3)).quantize(256, method=Image.Quantize.FASTOCTREE)
    colours = np.zeros((256, 3), np.uint8)
    found = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    colours[: len(found)] = found
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = colours[:, channel].astype("<u2") * 257
        setattr(ds, f"{name}PaletteColorLookupTableData", table.tobytes())
    return np.asarray(image).reshape(n, height, width)
