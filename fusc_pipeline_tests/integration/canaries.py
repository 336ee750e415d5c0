"""Strings that stand for patient data, and the search for them in every byte a run left behind. No scans here.

A stem is planted once in plain form; it is looked for in every form that a program could give it on its way out.
"""

import base64
import binascii
import contextlib
import hashlib
import io
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STEM = "QXZJVKWY"
"""Begins every planted text; no word of any language, no library and no hash holds it."""
SHORT_STEM = STEM[:4]
"""What is left of it where a column is cut; looked for in text only, since four letters occur by chance in weights."""
DAY, CLOCK, AGE = "19070228", "071904.277", "913Y"
DIGITS = "719042778316"
NUMBER = "719042778"
UID = f"1.2.826.0.1.3680043.8.498.{DIGITS}"
UNUSUAL = f"{STEM}^Zoë Łódź"

_WHOLE = (STEM, DAY, CLOCK, NUMBER)  # the digits of a UID begin with the number
_IN_TEXT = (SHORT_STEM, AGE)
_DATA_URI = re.compile(rb"data:[a-z/+-]+;base64,([A-Za-z0-9+/=\\]+)")
_DIGEST = 16
_DEPTH = 6
_SMALL = 1 << 10


def forms(text: str) -> dict[str, bytes]:
    """Form name -> the bytes to look for in lower-cased data; base64, which knows upper and lower case, is apart."""
    plain = text.encode().lower()
    found = {"plain": plain, "reversed": plain[::-1], "utf-16": b"\0".join(plain[i : i + 1] for i in range(len(plain)))}
    found["utf-32"] = found["utf-16"].replace(b"\0", b"\0\0\0")
    for name, spelling in (("upper", text.upper()), ("lower", text.lower())):
        found[f"hex of {name}"] = binascii.hexlify(spelling.encode())
        found[f"hex of {name} as utf-16"] = binascii.hexlify(spelling.encode("utf-16-le"))[:-2]
    percent = "".join(f"%{ord(char):02x}" for char in text)
    return found | {"percent": percent.encode().lower()}


def base64_forms(text: str) -> dict[str, bytes]:
    """Form name -> what base64 makes of the text at each of its three alignments, without the characters that depend
    on what stands beside it."""
    found = {}
    for name, spelling in (("as it is", text), ("lower", text.lower()), ("utf-16", "\0".join(text))):
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + spelling.encode())
            first = -(-8 * shift // 6)
            last = (8 * (shift + len(spelling.encode()))) // 6
            found[f"base64 of {name} at {shift}"] = coded[first:last]
    return found


def digests(values: Iterable[str]) -> dict[str, bytes]:
    """The unkeyed hashes of planted identities: anybody who can guess the value can find it by its hash."""
    found = {}
    for value in values:
        raw = value.encode("utf-8", "surrogateescape")
        for name in ("md5", "sha1", "sha256"):
            found[f"{name} of {value!a}"] = hashlib.new(name, raw).hexdigest()[:_DIGEST].encode()
            found[f"{name} of {value!a}, raw"] = hashlib.new(name, raw).digest()[: _DIGEST // 2]
    return found


class Needles:
    """Many strings looked for in one pass, in time that does not grow with their number; by the names given to them.

    lowered: lower-case strings that are found in any case; exact: strings that are not.
    """

    def __init__(self, lowered: Mapping[str, bytes], exact: Mapping[str, bytes]):
        self._lowered = {needle: name for name, needle in lowered.items()}
        self._exact = {needle: name for name, needle in exact.items()}
        self._by_start: dict[bytes, list[bytes]] = {}
        self._first, self._second = (np.zeros(1 << 16, bool) for _ in range(2))
        for needle in (*self._lowered, *self._exact):
            start = needle[:4].lower()
            self._by_start.setdefault(start, []).append(needle)
            pair = np.frombuffer(start, "<u2")
            self._first[pair[0]] = self._second[pair[1]] = True

    def found_in(self, data: bytes) -> list[str]:
        """The names of the strings that `data` holds."""
        low = data.lower()
        if len(data) < _SMALL:
            found = [name for needle, name in self._lowered.items() if needle in low]
            return found + [name for needle, name in self._exact.items() if needle in data]
        names: dict[str, None] = {}
        for offset in (0, 1):
            pairs = np.frombuffer(low, "<u2", (len(data) - offset) // 2, offset)
            for place in np.flatnonzero(self._first[pairs[:-1]] & self._second[pairs[1:]]):
                here = offset + 2 * int(place)
                for needle in self._by_start.get(low[here : here + 4], ()):
                    if needle in self._lowered and low.startswith(needle, here):
                        names[self._lowered[needle]] = None
                    if needle in self._exact and data.startswith(needle, here):
                        names[self._exact[needle]] = None
        return list(names)


class Search:
    """Looks for the stems, and for unkeyed hashes of `identities`, in files, tables, databases and archives; for
    `words` (beginnings of what was burnt into the pixels, which an engine may have read) in text only."""

    def __init__(self, identities: Iterable[str] = (), words: Iterable[str] = ()):
        lowered = {f"{text} ({form})": needle for text in _WHOLE for form, needle in forms(text).items()}
        exact = {f"{text} ({form})": needle for text in _WHOLE for form, needle in base64_forms(text).items()}
        for form, needle in digests(identities).items():
            (exact if "raw" in form else lowered)[form] = needle
        self._needles = Needles(lowered, exact)
        edge = rb"(?<![0-9a-z])%s(?![0-9a-z])"
        self._short = {text: re.compile(re.escape(text.lower().encode())) for text in (SHORT_STEM, *words)}
        self._short |= {text: re.compile(edge % text.lower().encode()) for text in (AGE,)}

    def tree(self, root: Path, exempt: Iterable[Path] = ()) -> Iterator[str]:
        """What was found under `root`, names included; the exempt folders are passed over."""
        left_out = {path.resolve() for path in exempt}
        for path in sorted(root.rglob("*")):
            if any(path == other or other in path.parents for other in left_out):
                continue
            where = path.relative_to(root).as_posix()
            for hit in self.data(where.encode("utf-8", "surrogateescape"), text=True):
                yield f"the name {where!a}: {hit}"
            if path.is_file() and not path.is_symlink():
                for hit in self.file(path):
                    yield f"{where!a} {hit}"

    def file(self, path: Path) -> Iterator[str]:
        """What was found in a file: its bytes, and what they hold once unpacked."""
        if path.suffix == ".parquet":
            yield from self._table(path)
        if path.read_bytes()[:15] == b"SQLite format 3":
            yield from self._database(path)
        text = path.suffix in {".json", ".html", ".txt", ".yaml", ".log", ".out", ".err", ".csv", ""}
        yield from self.data(path.read_bytes(), text=text)

    def data(self, data: bytes, depth: int = 0, text: bool = False) -> Iterator[str]:
        """What was found in bytes and in everything packed into them."""
        yield from self._needles.found_in(data)
        if text:
            yield from self.text(data)
        if depth < _DEPTH:
            for kind, part in unpacked(data):
                yield from (f"{kind}: {hit}" for hit in self.data(part, depth + 1))

    def text(self, data: bytes) -> Iterator[str]:
        """What was found in text, where short strings count too; pictures written into it as base64 do not."""
        lowered = _DATA_URI.sub(b"", data).lower()
        yield from (name for name, pattern in self._short.items() if pattern.search(lowered))

    def _table(self, path: Path) -> Iterator[str]:
        file = pq.ParquetFile(path)
        yield from (f"schema: {hit}" for hit in self.data(str(file.schema_arrow.metadata).encode(), text=True))
        yield from (f"footer: {hit}" for hit in self.data(str(file.metadata.to_dict()).encode(), text=True))
        for batch in file.iter_batches():
            for name, column in flat_columns(batch):
                for value in column:
                    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
                    found = self.data(raw, text=not isinstance(value, bytes))
                    yield from (f"column {name}: {hit}" for hit in found)

    def _database(self, path: Path) -> Iterator[str]:
        for table, value in database_values(path):
            yield from (f"table {table}: {hit}" for hit in self.data(value, text=True))


def database_values(path: Path) -> Iterator[tuple[str, bytes]]:
    """(table, value) of everything in an SQLite file."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = [row[0].decode() for row in connection.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            for row in connection.execute(f'select * from "{table}"'):
                yield from ((table, value if isinstance(value, bytes) else str(value).encode()) for value in row)


def flat_columns(batch: pa.RecordBatch) -> Iterator[tuple[str, list]]:
    """(name, distinct values) of every string and binary column, those inside structs and lists too."""
    pending = [(field.name, column) for field, column in zip(batch.schema, batch.columns, strict=True)]
    while pending:
        name, column = pending.pop()
        kind = column.type
        if pa.types.is_struct(kind):
            pending += [(f"{name}.{kind.field(i).name}", column.field(i)) for i in range(kind.num_fields)]
        elif pa.types.is_list(kind):
            pending.append((f"{name}[]", column.flatten()))
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            yield name, column.drop_null().unique().to_pylist()


def unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(what it is, bytes) of everything packed into `data`: zlib, zip members, PNG's texts, data URIs."""
    if data[:1] == b"\x78" and len(data) > 2 and int.from_bytes(data[:2], "big") % 31 == 0:
        with contextlib.suppress(zlib.error):  # it may only begin like one
            yield "inflated", zlib.decompress(data)
    if data[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    yield "zip member", archive.read(member)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from ((f"PNG {kind}", part) for kind, part in png_texts(data))
    for match in _DATA_URI.finditer(data):
        coded = re.sub(rb"[^A-Za-z0-9+/]", b"", match.group(1))
        coded = coded[:-1] if len(coded) % 4 == 1 else coded  # cut short where it was found
        yield "data URI", base64.b64decode(coded + b"=" * (-len(coded) % 4))


def png_chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(type, content) of a PNG's chunks; what follows the last one comes as the type "trailing"."""
    here = 8
    while here + 8 <= len(data):
        length, kind = int.from_bytes(data[here : here + 4], "big"), data[here + 4 : here + 8].decode("latin-1")
        yield kind, data[here + 8 : here + 8 + length]
        here += 12 + length
        if kind == "IEND":
            break
    if here < len(data):
        yield "trailing", data[here:]


def png_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The text chunks of a PNG, inflated."""
    for kind, content in png_chunks(data):
        if kind in {"tEXt", "eXIf", "trailing"}:
            yield kind, content
        elif kind in {"zTXt", "iTXt"}:
            yield kind, content
            start = content.find(b"\x78")
            while start >= 0:  # where the stream starts depends on the lengths of up to four fields before it
                try:
                    yield f"{kind} inflated", zlib.decompress(content[start:])
                    break
                except zlib.error:
                    start = content.find(b"\x78", start + 1)


def counted(hits: Iterable[str]) -> Mapping[str, int]:
    """How often each thing was found, for a message that can be read."""
    counts: dict[str, int] = {}
    for hit in hits:
        counts[hit] = counts.get(hit, 0) + 1
    return counts
