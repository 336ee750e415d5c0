"""Layouts of public data sets: what a set says of each of its images (label, split, patient, machine), from its table.

FETAL_PLANES_DB (Burgos-Artizzu et al., Sci Rep 10, 10200, 2020; Zenodo 3904280) and a folder per view. Nothing of a
table is kept but what `OwnFacts` names; who operated the machine is never read. No pixels here.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.scans.files import SEPARATOR, BatchFile, OwnFacts, passed_over
from fusc_pipeline.scans.forward import Stop
from fusc_pipeline.scans.machines import machine_name
from fusc_pipeline.scans.members import zip_member, zip_names

LAYOUTS = ("auto", "plain", "fetal_planes_db", "folder_per_view")

FETAL_PLANES_TABLE = "FETAL_PLANES_DB_data.csv"
_IMAGES = "Images"
_COLUMNS = ("Image_name", "Patient_num", "Plane", "Brain_plane", "US_Machine", "Train")
_PLANES = ("Fetal abdomen", "Fetal brain", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other")
_BRAIN_PLANES = ("Trans-thalamic", "Trans-cerebellum", "Trans-ventricular")
_NO_BRAIN, _OTHER_BRAIN = "Not A Brain", "Other"
FETAL_PLANES_LABELS = (*_PLANES, *(f"Fetal brain, {plane.lower()}" for plane in _BRAIN_PLANES))
"""The closed list of FETAL_PLANES_DB's labels: its planes, and its brain planes where a brain shows one of them."""
PLANE_VIEWS: Mapping[str, tuple[str, ...]] = {
    "Fetal abdomen": ("Abdomen",),
    "Fetal brain": ("Brain",),
    "Fetal femur": ("Femur",),
    "Fetal thorax": ("4CH", "LVOT", "RVOT", "3VV/3VT"),
    "Maternal cervix": (),
    "Other": (),
}
"""Which of our views each of its planes shows; none: a class that no view corresponds to."""
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
_PATIENT_OF_NAME = re.compile(r"Patient(\d{1,9})_")
_MAKER_OF = {"aloka": "Hitachi", "other": ""}  # of names that do not tell it
_MAX_TABLE_BYTES = 64 << 20

_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_VIEW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,()+\-_]{0,39}")
_NO_VIEW = re.compile(r"\d{3}|patient|subject|case[-_ ]?\d", re.IGNORECASE)


@dataclass(frozen=True)
class BadRow:
    """A row of a data set's table that is not used. reason: a code of frames.REASONS; name: for the owner only."""

    line: int
    reason: str
    found: str
    name: str


@dataclass(frozen=True)
class DataSet:
    """What a data set says of its images, by their path in the batch; `plain` knows nothing of any.

    table: path of the set's table in the batch, its SHA-256 (hex) and size in bytes; bad_rows: rows of it not used.
    views: folder names that are labels. fingerprint: changes with anything that decides an image's facts.
    """

    layout: str = "plain"
    table: str | None = None
    table_sha256: str | None = None
    table_bytes: int = 0
    images: Mapping[str, OwnFacts] = field(default_factory=dict, repr=False)
    bad_rows: Sequence[BadRow] = field(default=(), repr=False)
    views: frozenset[str] = frozenset()

    @property
    def fingerprint(self) -> list[str]:
        """What an earlier reading must have had in common for its rows to hold."""
        return [self.layout, self.table_sha256 or "", *sorted(self.views)]

    def is_table(self, relative: str) -> bool:
        """Whether this file is the set's own table, and so no delivered scan."""
        return self.table is not None and relative == self.table

    def facts_of(self, relative: str) -> OwnFacts | None:
        """None for a plain folder; facts without a label for an image that the set does not know."""
        if self.layout == "fetal_planes_db":
            return self.images.get(relative) or OwnFacts(subject=_patient_of(PurePosixPath(relative).name))
        if self.layout == "folder_per_view":
            return _by_folder(relative, self.views)
        return None


def read_data_set(files: Sequence[BatchFile], layout: str = "auto", views: Collection[str] = ()) -> DataSet:
    """The data set that a batch is, or a plain one. `auto` knows FETAL_PLANES_DB by the name of its table.

    views: the folder names that are labels in a `folder_per_view`. Raises BadSetting for an unknown layout and BadInput
    where the folder is not what the layout says.
    """
    if layout not in LAYOUTS:
        raise BadSetting(f"layout {layout!r}: use one of {', '.join(LAYOUTS)}")
    if layout == "folder_per_view":
        return DataSet(layout, views=frozenset(views))
    tables = list(_tables(files))
    if layout == "plain" or (layout == "auto" and not tables):
        return DataSet()
    if len(tables) != 1:
        raise BadInput(
            f"the batch holds {len(tables)} files {FETAL_PLANES_TABLE}, one is needed: add the folder (or zip) that "
            "holds it beside Images/, or use --layout plain"
        )
    file, member = tables[0]
    names = [f"{file.relative}{SEPARATOR}{name}" for name in zip_names(file.path)] if member else []
    return _fetal_planes_db(file, member, {listed.relative for listed in files} | set(names))


def plane_of(label: str) -> str:
    """The plane of one of FETAL_PLANES_LABELS (brain planes are one class, Fetal brain); other labels as they are."""
    plane = label.split(", ")[0]
    return plane if plane in _PLANES and label in FETAL_PLANES_LABELS else label


def view_folders(files: Sequence[BatchFile]) -> list[str]:
    """The names of the folders that hold the files, as labels. Raises BadInput where they look like no views.

    Whoever calls a folder's name a label states that it names nobody; what looks like a patient's is refused.
    """
    names = {name for file in files if (name := _folder_of(file.relative)) is not None}
    if not names:
        raise BadInput("no file lies in a folder named after its view; unpack archives first, or use --layout plain")
    bad = sum(_NO_VIEW.search(name) is not None or not _VIEW_NAME.fullmatch(name) for name in names)
    if bad:
        raise BadInput(
            f"{bad} of {len(names)} folders have names that are no view's (numbers of three digits and more, "
            "'patient', marks or over 40 characters); rename them, or use --layout plain"
        )
    return sorted(names)


def _folder_of(relative: str) -> str | None:
    """The nearest folder that is not the name of a split."""
    folders = [part for part in PurePosixPath(relative).parts[:-1] if part.casefold() not in _SPLITS]
    return folders[-1] if folders else None


def _by_folder(relative: str, views: frozenset[str]) -> OwnFacts:
    label = _folder_of(relative)
    splits = {_SPLITS.get(part.casefold()) for part in PurePosixPath(relative).parts[:-1]} - {None}
    split = splits.pop() if len(splits) == 1 else None
    return OwnFacts(label if label in views else None, split)


def _tables(files: Sequence[BatchFile]) -> Iterator[tuple[BatchFile, str | None]]:
    """FETAL_PLANES_DB's tables: a file, or a zip (as the set is downloaded) and the table's name in it."""
    for file in files:
        path = PurePosixPath(file.relative)
        if file.refused:
            continue
        if path.name == FETAL_PLANES_TABLE:
            yield file, None
        elif path.suffix.lower() == ".zip":
            named = (name for name in zip_names(file.path) if not passed_over(name, b""))
            yield from ((file, name) for name in named if PurePosixPath(name).name == FETAL_PLANES_TABLE)


def _fetal_planes_db(file: BatchFile, member: str | None, delivered: Collection[str]) -> DataSet:
    """The table is `file`, or a member of it; delivered: paths of all files, and of members beside the table."""
    try:
        with open(file.path, "rb") as stream:
            most = _MAX_TABLE_BYTES + 1
            table = stream.read(most) if member is None else zip_member(file.path, member, most)
    except (OSError, Stop):
        raise BadInput(f"{FETAL_PLANES_TABLE} cannot be read: copy it again, or use --layout plain") from None
    if len(table) > _MAX_TABLE_BYTES:
        raise BadInput(f"{FETAL_PLANES_TABLE} has over {_MAX_TABLE_BYTES} bytes: it is not the set's own")
    relative = file.relative if member is None else f"{file.relative}{SEPARATOR}{member}"
    home = PurePosixPath(relative).parent / _IMAGES
    # Copies through other systems change the case of `Images` and of the endings.
    there = {name.casefold(): name for name in sorted(delivered, reverse=True)}
    rows: dict[str, tuple[int, OwnFacts]] = {}
    refused: list[BadRow] = []
    contradicted: set[str] = set()
    for line, name, facts in _rows(table):
        if isinstance(facts, str):
            refused.append(BadRow(line, "bad_row", facts, name))
        elif name in contradicted or (name in rows and rows[name][1] != facts):
            if name in rows:
                refused.append(BadRow(rows.pop(name)[0], "bad_row", "two rows that contradict each other", name))
            contradicted.add(name)
            refused.append(BadRow(line, "bad_row", "two rows that contradict each other", name))
        elif name in rows:
            refused.append(BadRow(line, "duplicate_row", "", name))
        else:
            rows[name] = (line, facts)
    images = {}
    for name, (line, facts) in rows.items():
        exact = (home / f"{name}.png").as_posix()
        path = exact if exact in delivered else there.get(exact.casefold())
        if path is not None:
            images[path] = facts
        else:
            refused.append(BadRow(line, "row_without_image", "", name))
    sha256 = hashlib.sha256(table).hexdigest()
    bad_rows = sorted(refused, key=lambda row: row.line)
    return DataSet("fetal_planes_db", relative, sha256, len(table), images, bad_rows)


def _rows(table: bytes) -> Iterator[tuple[int, str, OwnFacts | str]]:
    """(line, image name, facts or what is wrong) of each row. Raises BadInput for another header than the set's."""
    # Bytes that are no UTF-8 become surrogates, which no allowed value holds: the row is refused, the others are read.
    # A quote around a cell, which spreadsheets write, goes; one within is a character like others, so that none can
    # swallow the rows after it.
    code = "utf-16" if table[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    first, *lines = table.decode(code, "surrogateescape" if code == "utf-8-sig" else "replace").split("\n")
    separator = ";" if ";" in first or "," not in first else ","
    header = [_cell(name) for name in first.split(separator)]
    missing = [name for name in _COLUMNS if header.count(name) != 1]
    if missing:
        raise BadInput(
            f"{FETAL_PLANES_TABLE} must have one column each named {', '.join(missing)}, separated by ';': take the "
            "file as it is distributed, or use --layout plain"
        )
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        cells = [_cell(cell) for cell in line.split(separator)]
        if len(cells) != len(header):
            yield number, cells[0], f"{len(cells)} cells instead of {len(header)}"
            continue
        row = {column: cells[header.index(column)] for column in _COLUMNS}
        name = re.sub(r"\.png$", "", row["Image_name"], flags=re.IGNORECASE)
        yield number, name, _facts(name, row)


def _cell(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def _facts(name: str, row: Mapping[str, str]) -> OwnFacts | str:
    """The facts of one row, or which column is wrong. Values are never quoted."""
    if not _IMAGE_NAME.fullmatch(name) or ".." in name:
        return "Image_name is no plain file name"
    number = re.sub(r"\.0+$", "", row["Patient_num"])  # as a spreadsheet writes numbers
    if not re.fullmatch(r"[0-9]{1,9}", number) or int(number) == 0:
        return "Patient_num is no patient number"
    subject, named = _subject(number), _patient_of(name)
    if named not in (None, subject):
        return "Patient_num is another patient than Image_name says"
    plane, brain = row["Plane"], row["Brain_plane"]
    if plane not in _PLANES:
        return "Plane is none of the set's planes"
    if brain not in (*_BRAIN_PLANES, _NO_BRAIN, _OTHER_BRAIN) or (plane == "Fetal brain") == (brain == _NO_BRAIN):
        return "Brain_plane is none of the set's, or contradicts Plane"
    if row["Train"] not in ("0", "1"):
        return "Train is neither 0 nor 1"
    machine = row["US_Machine"]
    maker = _MAKER_OF.get(machine.casefold(), "GE" if machine.casefold().startswith("voluson") else "")
    return OwnFacts(
        label=f"{plane}, {brain.lower()}" if brain in _BRAIN_PLANES else plane,
        split="train" if row["Train"] == "1" else "test",
        subject=subject,
        machine=machine_name(maker, machine),
    )


def _subject(number: str) -> str:
    """The number as the set's image names write it: a subject is one, also where its images came as a plain folder."""
    return f"{int(number):05d}"


def _patient_of(name: str) -> str | None:
    """The patient that an image's name gives, as `_subject`; None when it gives none."""
    match = _PATIENT_OF_NAME.match(name)
    return _subject(match.group(1)) if match and int(match.group(1)) else None
