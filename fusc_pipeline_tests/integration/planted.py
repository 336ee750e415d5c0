"""A delivery in which everything names somebody: headers, files, folders, archives and pixels. Writing only.

The pixels are phantoms. Files that must be taken are in `write_good`, files that must be refused in `write_bad`.
"""

import contextlib
import io
import logging
import os
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, PngImagePlugin
from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.phantom.study import font
from fusc_pipeline_tests.integration.canaries import AGE, CLOCK, DAY, DIGITS, NUMBER, SHORT_STEM, STEM, UNUSUAL
from fusc_pipeline_tests.integration.canaries import UID as CANARY_UID
from fusc_pipeline_tests.scans.make import add_region, dataset, jpeg_dataset, save

HEADER = "NOWAKOWSKA ZOFIA 14.03.1986"
HOSPITAL = "HEDWIG KLINIK DORNBACH"
OPERATOR = "Op: JKQ"
IN_THE_PICTURE = "BRZOZOWSKI"
OVERLAY_WORD = "WOJTASZEK"
TURNED_WORDS = ("SZYMANOWSKA", "KWIATKOWSKI")
"""One runs upwards and one downwards, in turns."""
DARK_WORD = "LEWANDOWSKA"
BURNT = (HEADER, HOSPITAL, OPERATOR, IN_THE_PICTURE, OVERLAY_WORD, *TURNED_WORDS, DARK_WORD)
PATIENT = f"{STEM}-4711"

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip

NONE, FEW, ALL = 0, 12, 10_000
"""How many of the dictionary's sequences are written: all of them take a second. With none, only the attributes of the
patient, the study and the equipment are (groups 0008 and 0010)."""

# Values by VR: each as long as the VR allows where it is short, so that no part of the stem is lost.
VALUES: dict[str, object] = {
    "PN": UNUSUAL,
    "LO": f"{STEM} Hedwig Klinik",
    "SH": f"{STEM} JKQ",
    "ST": f"{STEM} seen by Dr. Nowakowska",
    "LT": f"{STEM} seen by Dr. Nowakowska\r\non {DAY}",
    "UT": f"{STEM} seen by Dr. Nowakowska",
    "UC": f"{STEM} Nowakowska",
    "UR": f"https://{STEM.lower()}.example/4711",
    "DA": DAY,
    "DT": f"{DAY}{CLOCK}",
    "TM": CLOCK,
    "AS": AGE,
    "UI": CANARY_UID,
    "CS": f"{STEM}_4711",
    "AE": f"{STEM}_AE",
    "IS": NUMBER,
    "DS": f"{NUMBER[:3]}.{NUMBER[3:]}",
    "OB": STEM.encode(),
    "UN": STEM.encode(),
    "OW": STEM.encode(),
    "OB or OW": STEM.encode(),
}
# What makes the file an ultrasound picture that can be decoded at all.
_PLACE = b"17041704"  # where pydicom refuses to write words, they are put in afterwards
_NEEDED = {
    "SOPClassUID", "Modality", "SpecificCharacterSet", "SamplesPerPixel", "PhotometricInterpretation", "Rows",
    "Columns", "PlanarConfiguration", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelData", "FloatPixelData", "DoubleFloatPixelData", "SequenceOfUltrasoundRegions",
    "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "VOILUTFunction", "PixelPaddingValue",
    "TransferSyntaxUID", "LengthToEnd", "Manufacturer", "ManufacturerModelName",
    "DataSetTrailingPadding",
}  # fmt: skip


def write_delivery(folder: Path, n_frames: int) -> dict[str, int]:
    """Fill `folder`; returns how many frames are worth taking, and how many files there are."""
    folder.mkdir(parents=True)
    frames = burnt_frames(n_frames)
    with unchecked():
        write_good(folder, frames)
        write_bad(folder, frames[0])
    # The tar comes before, the zip after the folder of the loose files: of pictures in both, one each is taken.
    if n_frames > 6:
        write_archives(folder, zipped=frames[5], tarred=frames[6])
    return {"frames": n_frames, "files": sum(path.is_file() or path.is_symlink() for path in folder.rglob("*"))}


def write_every_syntax(folder: Path, frames: list[np.ndarray]) -> None:
    """One file per transfer syntax in use for ultrasound, each with everything planted in it; one frame for each."""
    folder.mkdir(parents=True)
    with unchecked():
        for syntax, frame in zip(SYNTAXES, frames, strict=True):
            ds = planted_dataset(frame, ALL)
            ds.PatientID = f"{PATIENT}{syntax[-2:]}"
            _region(ds)
            if syntax.is_encapsulated:
                ds.file_meta = pydicom.dataset.FileMetaDataset()
                ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                ds.compress(syntax, generate_instance_uid=False)
            _around(save(folder / f"{STEM} {syntax.name} {DAY}.dcm", ds, syntax))


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """pydicom writes values that break the rules of their VR, and says nothing about it."""
    settings = pydicom.config.settings
    before = settings.writing_validation_mode, settings.reading_validation_mode
    settings.writing_validation_mode = settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("pydicom").disabled = True
            yield
    finally:
        logging.getLogger("pydicom").disabled = False
        settings.writing_validation_mode, settings.reading_validation_mode = before


def burnt_frames(count: int, size: tuple[int, int] = (440, 330)) -> list[np.ndarray]:
    """RGB phantom frames (H, W, 3) with a name, a date, a hospital and initials drawn over them, a name that is turned
    and one in black with a white rim; `size` is (W, H)."""
    config = PhantomConfig(
        n_frames=count, n_subjects=count, seed=5, cine_share=0, view_shares={"Femur": 1, "Brain": 1, "4CH": 1}
    )
    frames = []
    for index in range(count):
        image = Image.fromarray(render_frame(config, index).screen).resize(size, Image.Resampling.LANCZOS)
        draw = ImageDraw.Draw(image)
        letters = font("DejaVuSans", round(size[1] / 26))
        draw.text((8, 2), f"{HEADER}   {HOSPITAL}", fill=(240, 240, 240), font=letters)
        draw.text((8, size[1] - 20), OPERATOR, fill=(240, 240, 120), font=letters)
        draw.text((size[0] * 0.45, size[1] * 0.42), IN_THE_PICTURE, fill=(255, 255, 255), font=letters)
        at = (size[0] * 0.4, size[1] * 0.66)
        draw.text(at, DARK_WORD, fill=(0, 0, 0), font=letters, stroke_width=2, stroke_fill=(255, 255, 255))
        strip = Image.new("L", (round(letters.getlength(TURNED_WORDS[index % 2])) + 8, letters.size + 8))
        ImageDraw.Draw(strip).text((4, 2), TURNED_WORDS[index % 2], fill=255, font=letters)
        strip = strip.transpose((Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)[index % 2])
        image.paste((255, 255, 255), (round(size[0] * 0.32), round(size[1] * 0.27)), strip)
        frames.append(np.asarray(image))
    return frames


def write_good(folder: Path, frames: list[np.ndarray]) -> None:
    """Files whose frames are worth taking, one subject each."""
    home = folder / f"{STEM} Nowakowska Zofia {DAY}"
    home.mkdir()
    makers = [_explicit, _implicit, _cine, _grey_with_overlays, _png, _jpeg, _tiff]
    left = list(enumerate(frames))
    while left:
        for maker in makers:
            taken, left = left[: 2 if maker is _cine else 1], left[2 if maker is _cine else 1 :]
            if not taken:
                return
            maker(home, taken[0][0], [pixels for _, pixels in taken])


def planted_dataset(pixels: np.ndarray, sequences: int = NONE) -> Dataset:
    """An ultrasound data set in which every attribute the dictionary knows (see NONE) names somebody."""
    ds = dataset(pixels)
    plant_everywhere(ds, sequences)
    ds.PatientID, ds.StudyInstanceUID = PATIENT, CANARY_UID
    ds.Manufacturer, ds.ManufacturerModelName = f"Esaote {STEM}", f"MyLab {STEM}"
    return ds


def plant_everywhere(ds: Dataset, sequences: int = FEW) -> None:
    """Add every attribute of a textual VR, that many sequences with such attributes, private tags and overlays."""
    for tag, element in _everything(sequences).items():
        if tag not in ds:
            ds[tag] = element
    add_overlay(ds, 0x6000)


@lru_cache(maxsize=4)
def _everything(sequences: int) -> dict[int, DataElement]:
    ds, item, left = Dataset(), _item(2), sequences
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        group = tag >> 16
        if keyword in _NEEDED or not keyword or group in (0x0000, 0x0002, 0x0004, 0xFFFE):
            continue
        if sequences == NONE and group not in (0x0008, 0x0010):
            continue
        if vr in VALUES:
            ds[tag] = DataElement(tag, vr.split(" or ")[0], VALUES[vr])
        elif vr == "SQ" and left:
            left -= 1
            ds[tag] = DataElement(tag, "SQ", Sequence([item]))
    for masked, (vr, *_) in RepeatersDictionary.items():
        tag = Tag(int(masked.replace("x", "0"), 16))
        if vr in VALUES and tag.group != 0x6000:
            ds[tag] = DataElement(tag, vr.split(" or ")[0], VALUES[vr])
    for group in (0x0009, 0x0029, 0x7FE1):
        block = ds.private_block(group, f"{STEM} PRIVATE", create=True)
        for offset, vr in enumerate(("LO", "PN", "UN", "OB", "DA", "UT"), start=1):
            block.add_new(offset, vr, VALUES[vr])
        block.add_new(0x10, "SQ", Sequence([item]))
    ds[0xFFFCFFFC] = DataElement(0xFFFCFFFC, "OB", STEM.encode() * 8)
    return {element.tag: element for element in ds}


def add_overlay(ds: Dataset, group: int, where: tuple[float, float] = (0.4, 0.5)) -> None:
    """An overlay plane that spells a name in its bits, and in its comments; shown or burnt in, it would be read."""
    rows, columns = int(ds.Rows), int(ds.Columns)
    plane = Image.new("1", (columns, rows))
    letters = font("DejaVuSans-Bold", max(8, rows // 18))
    ImageDraw.Draw(plane).text((columns * where[0], rows * where[1]), OVERLAY_WORD, fill=1, font=letters)
    bits = np.packbits(np.asarray(plane).reshape(-1), bitorder="little").tobytes()
    for element, vr, value in (
        (0x0010, "US", rows),
        (0x0011, "US", columns),
        (0x0022, "LO", f"{STEM} overlay"),
        (0x0040, "CS", "G"),
        (0x0045, "LO", f"{STEM} subtype"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x1500, "LO", f"{STEM} label"),
        (0x4000, "LT", f"{STEM} comment"),
        (0x3000, "OW", bits + b"\0" * (len(bits) % 2)),
    ):
        ds[Tag(group, element)] = DataElement(Tag(group, element), vr, value)


def _item(depth: int) -> Dataset:
    item = Dataset()
    item.PatientName, item.PatientID, item.PatientBirthDate = VALUES["PN"], PATIENT, DAY
    item.OperatorsName, item.InstitutionName, item.TextValue = VALUES["PN"], VALUES["LO"], VALUES["UT"]
    item.ReferencedSOPInstanceUID, item.StudyDate = CANARY_UID, DAY
    if depth:
        item.ReferencedStudySequence = Sequence([_item(depth - 1)])
    return item


def _around(path: Path, preamble: bytes = (STEM.encode() * 16)[:128]) -> Path:
    """The preamble, and bytes after the last element, name somebody too."""
    data = bytearray(path.read_bytes())
    data[:128] = preamble
    path.write_bytes(data)
    return path


def _explicit(home: Path, number: int, frames: list[np.ndarray]) -> None:
    ds = planted_dataset(frames[0], ALL)
    ds.PatientID = f"{PATIENT}{number}"
    _region(ds)
    _around(save(home / f"{STEM}_{number}.dcm", ds))


def _implicit(home: Path, number: int, frames: list[np.ndarray]) -> None:
    ds = planted_dataset(frames[0], FEW)
    ds.SpecificCharacterSet, ds.PatientID = "ISO_IR 192", f"{PATIENT}{number}"
    ds.Manufacturer, ds.ManufacturerModelName = "Hitachi Aloka", f"ProSound {SHORT_STEM.lower()}"
    _region(ds)
    _around(save(home / f"{STEM} Łódź {number}", ds, ImplicitVRLittleEndian))


def _cine(home: Path, number: int, frames: list[np.ndarray]) -> None:
    ds = jpeg_dataset(frames)
    plant_everywhere(ds)
    ds.PatientID, ds.StudyInstanceUID = f"{PATIENT}{number}", CANARY_UID
    _region(ds)
    path = home / f"clip\n{STEM}%20{number}.DCM"
    _around(save(path, ds, JPEGBaseline8Bit))


def _grey_with_overlays(home: Path, number: int, frames: list[np.ndarray]) -> None:
    """12 bits in 16, a name in an overlay plane of its own and the same one in the bit above the pixels (retired)."""
    grey = np.asarray(Image.fromarray(frames[0]).convert("L")).astype(np.uint16) << 4
    ds = dataset(grey, bits=12)
    plane = Image.new("1", grey.shape[::-1])
    ImageDraw.Draw(plane).text((150, 200), OVERLAY_WORD, fill=1, font=font("DejaVuSans-Bold", 20))
    ds.PixelData = (grey | (np.asarray(plane).astype(np.uint16) << 12)).astype("<u2").tobytes()
    plant_everywhere(ds)
    ds.PatientID = f"{PATIENT}{number}"
    embedded = Tag(0x6002, 0x0102)
    for element, vr, value in ((0x10, "US", grey.shape[0]), (0x11, "US", grey.shape[1]), (0x40, "CS", "G")):
        ds[Tag(0x6002, element)] = DataElement(Tag(0x6002, element), vr, value)
    ds[Tag(0x6002, 0x50)] = DataElement(Tag(0x6002, 0x50), "SS", [1, 1])
    ds[Tag(0x6002, 0x0100)] = DataElement(Tag(0x6002, 0x0100), "US", 16)
    ds[embedded] = DataElement(embedded, "US", 12)
    _region(ds)
    _around(save(home / f"{number} {STEM}.{SHORT_STEM.lower()}", ds))


def _region(ds: Dataset) -> None:
    add_region(ds, (10, 26, int(ds.Columns) - 11, int(ds.Rows) - 31))
    item = ds.SequenceOfUltrasoundRegions[-1]
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 == 0x0010 and vr in VALUES and keyword:
            item[tag] = DataElement(tag, vr, VALUES[vr])


def _exif() -> Image.Exif:
    exif = Image.Exif()
    for tag in (270, 271, 272, 305, 315, 33432):  # description, maker, model, software, artist, copyright
        exif[tag] = f"{STEM} exif"
    exif[306] = "1907:02:28 07:19:04"
    exif.get_ifd(0x8769)[0x9286] = f"ASCII\0\0\0{STEM} comment".encode()
    return exif


def png_bytes(pixels: np.ndarray) -> bytes:
    """A PNG with every kind of text chunk and something after its end."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", f"{STEM} plain")
    texts.add_text("Comment", f"{STEM} packed " * 8, zip=True)
    texts.add_itxt("Title", UNUSUAL, lang=STEM.lower(), tkey=STEM)
    texts.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{STEM}</x:xmpmeta>", zip=True)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", pnginfo=texts, exif=_exif())
    return stream.getvalue() + STEM.encode()


def jpeg_bytes(pixels: np.ndarray) -> bytes:
    """A JPEG with a comment, EXIF, XMP, IPTC and something after its end."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(
        stream,
        "JPEG",
        quality=93,
        comment=f"{STEM} comment",
        exif=_exif(),
        xmp=f"<x:xmpmeta>{STEM}</x:xmpmeta>".encode(),
    )
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x14\x1c\x02\x50\0\x0a" + STEM.encode()
    marker = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
    data = stream.getvalue()
    return data[:2] + marker + data[2:] + STEM.encode()


def _png(home: Path, number: int, frames: list[np.ndarray]) -> None:
    (home / f"subject-{number}_{STEM}.png").write_bytes(png_bytes(frames[0]))


def _jpeg(home: Path, number: int, frames: list[np.ndarray]) -> None:
    place = os.path.join(os.fsencode(home), b"\xe9tude " + STEM.encode() + b"%d.jpeg" % number)  # not UTF-8
    with open(place, "wb") as stream:
        stream.write(jpeg_bytes(frames[0]))


def _tiff(home: Path, number: int, frames: list[np.ndarray]) -> None:
    texts = {tag: f"{STEM} tiff" for tag in (269, 270, 271, 272, 285, 305, 315, 316, 33432, 65000)}
    texts[306] = "1907:02:28 07:19:04"
    path = home / f"Patient{number} {STEM}.tif"
    Image.fromarray(frames[0]).save(path, compression="tiff_lzw", tiffinfo=texts)
    with open(path, "ab") as stream:
        stream.write(STEM.encode())


# -- files that are refused


def write_bad(folder: Path, frame: np.ndarray) -> None:
    """Files that fail in every way thought of, each with something in it that an error message could quote."""
    home = folder / f"bad {STEM}"
    home.mkdir()
    small = np.ascontiguousarray(frame[::6, ::6])
    for name, content in _bad_bytes(small):
        (home / f"{STEM} {name}").write_bytes(content)
    for name, syntax in (
        ("private syntax", CANARY_UID),
        ("unknown syntax", f"1.2.840.10008.1.2.4.{DIGITS}"),
        ("worded syntax", f"1.2.840.10008.{STEM}"),
    ):
        path = save(home / f"{STEM}_{name}.dcm", planted_dataset(small))
        path.write_bytes(_with_syntax(path.read_bytes(), syntax.encode()))
    for name, ds, syntax in _bad_datasets(small):
        path = save(home / f"{STEM}_{name}.dcm", ds, syntax)
        path.write_bytes(path.read_bytes().replace(_PLACE, STEM.encode()))
    for name, content in _surrounded(np.ascontiguousarray(frame[::2, ::2, 0])):
        (home / f"{STEM} {name}.dcm").write_bytes(content)
    (home / f"{STEM}.{SHORT_STEM.lower()}").write_text(STEM)
    (home / f"again {STEM}.png").write_bytes(png_bytes(frame))
    (home / f"once more {STEM}.png").write_bytes(png_bytes(frame))
    os.symlink(folder.parent / f"outside {STEM}.png", home / f"{STEM} dangling.png")
    os.symlink("/etc/hostname", home / f"{STEM} leaves.png")
    os.symlink(home, home / f"{STEM} loop")
    os.mkfifo(home / f"{STEM} pipe.dcm")


def _with_syntax(data: bytes, syntax: bytes) -> bytes:
    """A file whose meta header names another transfer syntax, which pydicom would refuse to write."""
    here = data.index(b"\x02\0\x10\0UI") + 6
    old = int.from_bytes(data[here : here + 2], "little")
    new = syntax + b"\0" * (len(syntax) % 2)
    group = struct.pack("<I", int.from_bytes(data[140:144], "little") + len(new) - old)
    return data[:140] + group + data[144:here] + struct.pack("<H", len(new)) + new + data[here + 2 + old :]


def _surrounded(grey: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Pixel data that is empty, cut or said to be longer than it is, between private groups full of a name."""
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        implicit, order = syntax == ImplicitVRLittleEndian, ">" if syntax == ExplicitVRBigEndian else "<"
        ds = dataset(grey)
        for group in (0x7FDF, 0x7FE1):
            block = ds.private_block(group, f"{STEM} RAWDATA", create=True)
            block.add_new(1, "OB", STEM.encode() * (3 * grey.size // len(STEM)))
        stream = io.BytesIO()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(stream, ds, implicit_vr=implicit, little_endian=order == "<", enforce_file_format=True)
        data = stream.getvalue()
        head = struct.pack(order + "HH", 0x7FE0, 0x0010) + (b"" if implicit else b"OB\0\0")
        at = data.index(head + struct.pack(order + "I", grey.size)) + len(head)
        for way, kept, said in (
            ("empty", 0, 0),
            ("half", grey.size // 2, grey.size // 2),
            ("longer", grey.size, 2 * grey.size),
            ("far longer", grey.size, 2 * grey.size + 1001),
        ):
            value = data[at + 4 : at + 4 + kept]
            yield (
                f"{way} {syntax[-2:]}",
                data[:at] + struct.pack(order + "I", said) + value + data[at + 4 + grey.size :],
            )


def _bad_bytes(small: np.ndarray) -> Iterator[tuple[str, bytes]]:
    png, jpeg = png_bytes(small), jpeg_bytes(small)
    note = f"{UNUSUAL} born {DAY}, seen by JKQ".encode()
    stream = io.BytesIO()
    dicom = planted_dataset(small)
    dicom.file_meta = pydicom.dataset.FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(stream, dicom, enforce_file_format=True)
    whole = stream.getvalue()
    yield from {
        "letter.txt": note,
        "letter.pdf": b"%PDF-1.7 " + note,
        "empty.dcm": b"",
        "cut.png": png[: len(png) // 2],
        "spoilt.png": png[:60] + STEM.encode() + png[60 + len(STEM) :],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "spoilt.jpg": jpeg[:400] + STEM.encode() * 40,
        "huge.png": png[:16] + b"\x7f\xff\xff\xff" * 2 + png[24:],
        "cut.tif": b"II*\0\x08\0\0\0\x02\0\x0e\x01\x02\0\x40\0\0\0\xff\0\0\0" + STEM.encode(),
        "list of people.csv": b"Image_name;Patient_num;Operator\n" + STEM.encode() + b";4711;JKQ\n",
        "cut in the name.dcm": whole[: whole.find(STEM.encode(), 200) + 4],
        "cut in the middle.dcm": whole[: len(whole) // 2],
        "spoilt lengths.dcm": whole[:400] + b"\xff\xff\xff\x7f" + STEM.encode() * 30,
        "no such VR.dcm": whole.replace(b"LO", b"QX").replace(b"PN", b"ZJ"),
        "message.hl7": b"MSH|^~\\&|" + note,
    }.items()


def _bad_datasets(small: np.ndarray) -> Iterator[tuple[str, Dataset, UID]]:
    """One data set for each attribute the reader looks at, with a name where its value should be."""
    for keyword in (
        "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "PlanarConfiguration", "NumberOfFrames", "PhotometricInterpretation", "Modality", "SpecificCharacterSet",
        "SOPClassUID",
    ):  # fmt: skip
        ds = dataset(small)
        if keyword == "SOPClassUID":
            ds.SOPClassUID = CANARY_UID
        elif keyword in ("NumberOfFrames", "SpecificCharacterSet"):
            setattr(ds, keyword, _PLACE.decode())
        else:
            ds[keyword] = DataElement(pydicom.datadict.tag_for_keyword(keyword), "LO", f"{STEM}_4711")
        yield f"bad {keyword}", ds, ExplicitVRLittleEndian
    for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "VOILUTFunction"):
        ds = dataset(small[..., 0].astype(np.uint16) << 4, bits=12)
        ds.WindowCenter, ds.WindowWidth = "2048", "4096"
        ds[keyword] = DataElement(pydicom.datadict.tag_for_keyword(keyword), "LO", f"{STEM}_4711")
        yield f"bad {keyword}", ds, ExplicitVRLittleEndian
    ds = dataset(small)
    ds.SequenceOfUltrasoundRegions = Sequence([planted_dataset(small[:8, :8])])
    yield "no regions in the sequence", ds, ExplicitVRLittleEndian
    ds = dataset(small[..., 0])
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        for what in ("Descriptor", "Data"):
            tag = pydicom.datadict.tag_for_keyword(f"{colour}PaletteColorLookupTable{what}")
            ds[tag] = DataElement(tag, "LO", f"{STEM}")
    yield "bad palette", ds, ExplicitVRLittleEndian
    for keyword in ("RegionLocationMinX0", "RegionSpatialFormat", "PhysicalDeltaX", "PhysicalUnitsXDirection"):
        ds = dataset(small)
        add_region(ds, (2, 2, 60, 50))
        item = ds.SequenceOfUltrasoundRegions[0]
        item[keyword] = DataElement(pydicom.datadict.tag_for_keyword(keyword), "LO", f"{STEM}_4711")
        yield f"bad {keyword}", ds, ExplicitVRLittleEndian
    ds = planted_dataset(small)
    ds.Modality = "CT"
    yield "other modality", ds, ExplicitVRBigEndian
    ds = planted_dataset(small)
    for keyword in ("Rows", "Columns", "PixelData"):
        del ds[keyword]
    yield "no picture", ds, ExplicitVRLittleEndian
    ds = planted_dataset(small)
    ds.SOPClassUID, ds.EncapsulatedDocument = EncapsulatedPDFStorage, b"%PDF " + STEM.encode()
    del ds.PixelData
    yield "document", ds, ImplicitVRLittleEndian
    ds = planted_dataset(small)
    ds.PixelData = STEM.encode() * 4
    yield "short pixels", ds, ExplicitVRLittleEndian
    yield "deflated", planted_dataset(small), DeflatedExplicitVRLittleEndian
    ds = jpeg_dataset([small])
    ds.PixelData = pydicom.encaps.encapsulate([STEM.encode() * 20])
    ds["PixelData"].is_undefined_length = True
    yield "words for a JPEG", ds, pydicom.uid.JPEGBaseline8Bit
    ds = jpeg_dataset([small])
    ds.PixelData = pydicom.encaps.encapsulate([STEM.encode() * 20])
    ds["PixelData"].is_undefined_length = True
    yield "words for JPEG 2000", ds, pydicom.uid.JPEG2000Lossless


def write_archives(folder: Path, zipped: np.ndarray, tarred: np.ndarray) -> None:
    """A zip and a tar in which names, comments, owners and members name somebody; one picture in each."""
    with zipfile.ZipFile(folder / f"{STEM} export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = f"{STEM} comment".encode()
        entry = zipfile.ZipInfo(f"{STEM}/{STEM} Zofia.png")
        entry.comment = f"{STEM} member".encode()
        archive.writestr(entry, png_bytes(zipped))
        archive.writestr(f"{STEM}/../../{STEM} escapes.png", png_bytes(zipped))
        archive.writestr(f"{STEM}/{STEM} letter.txt", STEM)
    with tarfile.open(folder / f"{STEM} Export.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(f"{STEM}/{STEM} Łódź.jpg")
        data = jpeg_bytes(tarred)
        entry.size, entry.uname, entry.gname = len(data), STEM, STEM
        entry.pax_headers = {"comment": f"{STEM} pax"}
        archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo(f"{STEM} link")
        link.type, link.linkname = tarfile.SYMTYPE, f"/{STEM}"
        archive.addfile(link)
