import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.scans.archives import archive_kind, unpack
from fusc_pipeline.scans.batch import Rejection, Report, Reused, ScanRow, iter_batch
from fusc_pipeline.scans.files import BatchFile
from fusc_pipeline.scans.frames import REASONS
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline.scans.members import ArchiveLimits
from fusc_pipeline_tests.scans.make import dataset, save, sector

KEYS = KeyRing(b"0123456789abcdef0123456789abcdef")
SMALL = ArchiveLimits(
    max_members=50, max_total_bytes=4 << 20, max_member_bytes=1 << 20, max_ratio=50, free_bytes=64 << 10
)
PACKINGS = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(sector(160, 200, r0=20, r1=140, seed=seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def tarred(members) -> bytes:
    """members: (name, bytes) or a TarInfo without data."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                entry = tarfile.TarInfo(member[0])
                entry.size = len(member[1])
                archive.addfile(entry, io.BytesIO(member[1]))
    return buffer.getvalue()


def opened(path, tmp_path, limits=SMALL):
    """(what became of each member: its name -> bytes or reason) of an archive; nothing may stay behind but members."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    found = {}
    for file in unpack(BatchFile(path, path.name), archive_kind(path), scratch, limits):
        name = file.relative.removeprefix(f"{path.name}!/")
        if file.passed_over:
            assert not file.temporary
        elif file.refused:
            assert file.refused in REASONS
            found[name] = file.refused
        else:
            assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600
            assert file.path.parent == scratch and file.temporary
            found[name] = file.path.read_bytes()
            assert file.size_bytes == len(found[name])
            file.path.unlink()
    assert list(scratch.iterdir()) == []
    return found


MEMBERS = [("b/2.png", b"two"), ("a.dcm", b"one"), ("ü/x y.png", b"three"), ("empty", b"")]


def test_a_zip_gives_its_members_in_its_own_order(tmp_path):
    path = zipped(tmp_path / "delivery.bin", [*MEMBERS, ("folder/", b"")])
    assert archive_kind(path) == "zip"
    assert list(opened(path, tmp_path).items()) == MEMBERS


@pytest.mark.parametrize("kind", PACKINGS)
def test_a_tar_gives_its_members_however_it_is_packed(tmp_path, kind):
    path = tmp_path / "delivery"
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    path.write_bytes(PACKINGS[kind](tarred([*MEMBERS, folder])))
    assert archive_kind(path) == kind
    assert list(opened(path, tmp_path).items()) == MEMBERS


def test_several_xz_streams_on_end(tmp_path):
    whole = tarred(MEMBERS)
    path = tmp_path / "x"
    path.write_bytes(lzma.compress(whole[:700]) + bytes(8) + lzma.compress(whole[700:]))
    assert list(opened(path, tmp_path).items()) == MEMBERS


def test_what_is_no_archive(tmp_path):
    for number, data in enumerate((b"", b"PK", png(0), b"\0" * 2000, b"%PDF-1.4")):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert archive_kind(path) is None
    # A DICOM file's preamble may be the beginning of anything.
    path = save(tmp_path / "d", dataset(sector(160, 200, r0=20, r1=140)[0]))
    path.write_bytes(b"PK\x03\x04" + path.read_bytes()[4:])
    assert archive_kind(path) is None


def test_what_programs_leave_behind_is_passed_over_and_nothing_else(tmp_path):
    directory = bytes(128) + b"DICM\2\0\2\0UI\x14\x001.2.840.10008.1.3.10\0"
    left = {"__MACOSX/._a.png": b"x", "a/.DS_Store": b"x", "b/Thumbs.db": b"x", "_READY": b"", "cd/dicomdir": directory}
    left["._IM3"] = b"\0\5\x16\7\0\2\0\0"
    taken = {".x": b"x", "DICOMDIR/IM1": b"x", "./IM2": b"x", "DICOMDIR": b"x", "_views/IM_0001": b"x", "._IM4": b"x"}
    for path in (zipped(tmp_path / "z", [*left.items(), *taken.items()]), tmp_path / "t"):
        if path.name == "t":
            path.write_bytes(tarred([*left.items(), *taken.items()]))
        assert opened(path, tmp_path) == taken
        (tmp_path / f"scratch {path.name}").mkdir()
        files = list(unpack(BatchFile(path, "archive"), archive_kind(path), tmp_path / f"scratch {path.name}"))
        assert {file.relative.split("!/")[1] for file in files if file.passed_over} == set(left)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "..\\up", "C:\\x", "c:x", "//x/y", "a/.."])
def test_names_that_lead_out_are_refused(tmp_path, name):
    path = zipped(tmp_path / "z", [(name, b"x"), ("fine", b"y")])
    found = opened(path, tmp_path)
    assert list(found.values()) == ["unsafe_name", b"y"]
    path.write_bytes(tarred([(name, b"x"), ("fine", b"y")]))
    assert list(opened(path, tmp_path).values()) == ["unsafe_name", b"y"]


def test_links_devices_and_sparse_files_in_a_tar_are_refused(tmp_path):
    entries = []
    kinds = {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}
    for name, kind in kinds.items():
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        entries.append(entry)
    path = tmp_path / "t"
    path.write_bytes(tarred([*entries, ("fine", b"y")]))
    expected = {"sym": "link", "hard": "link", "pipe": "not_a_file", "device": "not_a_file", "fine": b"y"}
    assert opened(path, tmp_path) == expected


def test_a_sparse_file_in_a_tar_is_refused(tmp_path):
    sparse = tarfile.TarInfo("sparse")
    sparse.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "sparse"}
    sparse.size = 1
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(sparse, io.BytesIO(b"x"))
    path = tmp_path / "t"
    path.write_bytes(buffer.getvalue())
    assert opened(path, tmp_path) == {"sparse": "packed_file"}


def test_links_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "z"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
        entry = zipfile.ZipInfo("pipe")
        entry.external_attr = (stat.S_IFIFO | 0o666) << 16
        archive.writestr(entry, "")
    assert opened(path, tmp_path) == {"link": "link", "pipe": "not_a_file"}


def test_encrypted_members_and_other_packings_are_refused_alone(tmp_path):
    path = zipped(tmp_path / "z", [("secret", b"x"), ("fine", b"y")])
    data = bytearray(path.read_bytes())
    data[6] |= 1  # in the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(data)
    assert opened(path, tmp_path) == {"secret": "encrypted", "fine": b"y"}
    assert opened(zipped(tmp_path / "b", [("x", b"x")], zipfile.ZIP_BZIP2), tmp_path) == {"x": "packed_file"}
    assert opened(zipped(tmp_path / "l", [("x", b"x")], zipfile.ZIP_LZMA), tmp_path) == {"x": "packed_file"}


def test_archives_within_are_not_opened(tmp_path):
    inner = zipped(tmp_path / "inner", [("x.png", b"x")]).read_bytes()
    packed = {"a.png": inner, "b": tarred([("x", b"x")]), "c": gzip.compress(b"x"), "fine": b"y"}
    expected = {"a.png": "nested_archive", "b": "nested_archive", "c": "nested_archive", "fine": b"y"}
    assert opened(zipped(tmp_path / "z", packed.items()), tmp_path) == expected
    path = tmp_path / "t"
    path.write_bytes(tarred(packed.items()))
    assert opened(path, tmp_path) == expected


@pytest.mark.parametrize(
    "data", [gzip.compress(b"one file", mtime=0), bz2.compress(b"x"), lzma.compress(b"x"), b"\x28\xb5\x2f\xfdzz"]
)
def test_one_compressed_file_is_no_delivery(tmp_path, data):
    path = tmp_path / "scan.dcm.gz"
    path.write_bytes(data)
    assert opened(path, tmp_path) == {"scan.dcm.gz": "packed_file"}


@pytest.mark.parametrize("first", ["[Content_Types].xml", "mimetype"])
def test_documents_are_refused_as_one(tmp_path, first):
    path = zipped(tmp_path / "letter.docx", [(first, b"x"), ("word/media/image1.png", png(0))])
    assert opened(path, tmp_path) == {"letter.docx": "not_an_image"}


def test_the_same_name_twice_is_two_files(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "z", [("x", b"1"), ("x", b"2")])
    assert opened(path, tmp_path) == {"x": b"1", "x (2)": b"2"}
    scratch = tmp_path / "scratch"
    identities = {file.identity for file in unpack(BatchFile(path, "z"), "zip", scratch, SMALL)}
    assert len(identities) == 2


def test_an_empty_archive_is_said_to_be_one(tmp_path):
    assert opened(zipped(tmp_path / "z", []), tmp_path) == {"z": "empty"}
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(tarred([])))
    assert opened(path, tmp_path) == {"t.gz": "empty"}


def test_a_member_over_the_limit_is_refused_alone(tmp_path):
    data = np.random.default_rng(0).bytes(SMALL.max_member_bytes + 1)
    assert opened(zipped(tmp_path / "z", [("big", data), ("fine", b"y")]), tmp_path) == {
        "big": "too_large",
        "fine": b"y",
    }
    path = tmp_path / "t"
    path.write_bytes(tarred([("big", data), ("fine", b"y")]))
    assert opened(path, tmp_path) == {"big": "too_large", "fine": b"y"}


@pytest.mark.parametrize("kind", ["zip", *PACKINGS])
def test_bombs_are_stopped(tmp_path, kind):
    path = tmp_path / "bomb"
    zeros = bytes(900 << 10)
    members = [(f"{i}.png", zeros) for i in range(40)]
    if kind == "zip":
        zipped(path, members)
    else:
        path.write_bytes(PACKINGS[kind](tarred(members)))
    tracemalloc.start()
    try:
        found = opened(path, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert found["bomb"] == "archive_limit"
    assert sum(len(data) for data in found.values() if isinstance(data, bytes)) <= SMALL.max_total_bytes


def test_more_members_than_allowed(tmp_path):
    members = [(str(i), b"x") for i in range(SMALL.max_members + 1)]
    assert opened(zipped(tmp_path / "z", members), tmp_path) == {"z": "archive_limit"}
    path = tmp_path / "t"
    path.write_bytes(tarred(members))
    found = opened(path, tmp_path)
    assert len(found) == SMALL.max_members + 1 and found["t"] == "archive_limit"


def test_a_directory_that_would_fill_the_memory(tmp_path):
    path = zipped(tmp_path / "z", [("x", b"x")])
    data = path.read_bytes()
    end = data.index(b"PK\x05\x06")
    path.write_bytes(data[: end + 12] + struct.pack("<I", 1 << 30) + data[end + 16 :])
    assert opened(path, tmp_path) == {"z": "archive_limit"}


def test_a_tar_header_that_claims_gigabytes(tmp_path):
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    path = tmp_path / "t"
    path.write_bytes(entry.tobuf() + bytes(4096))
    assert opened(path, tmp_path) == {"t": "damaged"}


def test_overlapping_members_of_a_zip_cost_no_more_than_the_limit(tmp_path):
    """Fifield's bomb: many entries of the directory share the same packed bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = bytes(1 << 20)
    packed = packer.compress(body) + packer.flush()
    local = (
        struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, zlib.crc32(body), len(packed), len(body), 1, 0) + b"x"
    )
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, zlib.crc32(body), len(packed), len(body), 1, 0, 0, 0, 0, 0, 0
    )
    directory = (entry + b"x") * 40
    start = len(local) + len(packed)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 40, 40, len(directory), start, 0)
    path = tmp_path / "z"
    path.write_bytes(local + packed + directory + end)
    assert opened(path, tmp_path) == {"z": "archive_limit"}


@pytest.mark.parametrize("kind", ["zip", *PACKINGS])
def test_a_cut_archive_keeps_what_came_before_and_says_so(tmp_path, kind):
    members = [(f"{i}.bin", np.random.default_rng(i).bytes(60_000)) for i in range(5)]
    path = tmp_path / "cut"
    if kind == "zip":
        zipped(path, members)
    else:
        path.write_bytes(PACKINGS[kind](tarred(members)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 7 // 10])
    found = opened(path, tmp_path)
    assert found["cut"] == "truncated"
    if kind in ("tar", "tar.gz", "tar.xz"):
        assert [name for name, data in found.items() if isinstance(data, bytes)] == ["0.bin", "1.bin", "2.bin"]
        assert found["3.bin"] == "truncated"


def test_a_tar_cut_between_members_is_not_taken_for_whole(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(tarred([("a", b"x" * 512), ("b", b"y" * 512)])[:1024])
    assert opened(path, tmp_path) == {"a": b"x" * 512, "t": "truncated"}
    path.write_bytes(tarred([("a", b"x" * 512), ("b", b"y" * 512)])[:1024] + b"rubbish " * 64)
    assert opened(path, tmp_path) == {"a": b"x" * 512, "t": "damaged"}


def test_a_damaged_member_of_a_zip_costs_that_member_only(tmp_path):
    path = zipped(tmp_path / "z", [("a", b"a" * 500), ("b", b"b" * 500)], zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert opened(path, tmp_path) == {"a": "damaged", "b": b"b" * 500}


NAMES = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=30)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=8), st.sampled_from(["zip", *PACKINGS]))
def test_no_name_leads_out_and_no_member_is_lost(tmp_path_factory, members, kind):
    tmp_path = tmp_path_factory.mktemp("names")
    path = tmp_path / "archive"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members:
                entry = zipfile.ZipInfo("x")
                entry.filename = name.encode("utf-8", "replace").decode("utf-8")
                archive.writestr(entry, data)
        names = [entry.filename for entry in zipfile.ZipFile(path).infolist() if not entry.is_dir()]
    else:
        members = [(name.encode("utf-8", "replace").decode("utf-8"), data) for name, data in members]
        path.write_bytes(PACKINGS[kind](tarred(members)))
        with tarfile.open(path) as archive:
            names = archive.getnames()
    before = sorted(tmp_path.rglob("*"))
    found = opened(path, tmp_path)
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "scratch"] == before
    found.pop("archive", None)
    assert len(found) == len(names)  # none of these is what programs leave behind


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_archives_end_in_members_and_reasons(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("mutated")
    path = tmp_path / "archive"
    kind = data.draw(st.sampled_from(["zip", *PACKINGS]))
    members = [("a/1.png", b"x" * 700), ("b.png", np.random.default_rng(0).bytes(900))]
    if kind == "zip":
        zipped(path, members)
    else:
        path.write_bytes(PACKINGS[kind](tarred(members)))
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=6)):
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    if archive_kind(path) is not None:
        assert opened(path, tmp_path)


def read(folder, **options):
    report = Report()
    found = list(iter_batch(folder, KEYS, report=report, **options))
    return found, report


@pytest.fixture
def delivery(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    zipped(folder / "one.zip", [("Patient0007/a.png", png(0)), ("notes.txt", b"dear Mrs CANARY"), ("b.png", png(1))])
    (folder / "two.tar.gz").write_bytes(gzip.compress(tarred([("c.png", png(2)), ("again.png", png(0))])))
    (folder / "d.png").write_bytes(png(3))
    return folder


def test_members_are_delivered_files(delivery, tmp_path):
    scratch = tmp_path / "private"
    found, report = read(delivery, scratch=scratch)
    assert report.delivered == 6 and report.archives == 2
    told = {report.names[o.row["file_key"]]: o.row.get("reason", "taken") for o in found}
    assert told == {
        "d.png": "taken",
        "one.zip!/Patient0007/a.png": "taken",
        "one.zip!/notes.txt": "not_an_image",
        "one.zip!/b.png": "taken",
        "two.tar.gz!/c.png": "taken",
        "two.tar.gz!/again.png": "duplicate",
    }
    sources = Counter(o.row["subject_source"] for o in found if isinstance(o, ScanRow))
    assert sources == {"file": 3, "path": 1}
    assert len({o.row["subject_key"] for o in found if isinstance(o, ScanRow)}) == 4
    assert "CANARY" not in repr(found) and "Patient0007" not in repr(found)
    assert list(scratch.iterdir()) == []
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700


def test_a_grown_delivery_decodes_no_known_member_again(delivery):
    first, _ = read(delivery)
    known = {}
    refused = {o.row["file_key"] for o in first if isinstance(o, Rejection)}
    for row in (o.row for o in first if isinstance(o, ScanRow)):
        if row["file_key"] not in refused:
            known.setdefault((row["source_sha256"], row["file_key"]), {})[row["image_id"]] = row["frame_index"]
    zipped(delivery / "three.zip", [("e.png", png(4))])
    again, _ = read(delivery, known=known)
    assert sum(isinstance(o, Reused) for o in again) == 4
    assert sum(isinstance(o, ScanRow) for o in again) == 1


def test_what_a_killed_process_unpacked_is_removed(delivery, tmp_path):
    left = tmp_path / "private" / "fusc-99999999-x"
    left.mkdir(parents=True)
    (left / "0000001").write_bytes(b"x")
    read(delivery, scratch=tmp_path / "private")
    assert not left.exists()


def test_stopping_half_way_leaves_no_member_behind(delivery, tmp_path):
    outcomes = iter_batch(delivery, KEYS, scratch=tmp_path / "private")
    next(outcomes)
    next(outcomes)
    outcomes.close()
    assert list((tmp_path / "private").iterdir()) == []


def test_limits_of_nothing_are_refused():
    with pytest.raises(BadSetting, match="max_ratio"):
        ArchiveLimits(max_ratio=0)
