"""A delivery in which everything names somebody goes through the whole graph; every byte that came out is searched.

What the delivery holds is `planted`'s part, how it is searched `canaries`'. The commands run as a user runs them, in a
process of their own whose every place to write in (data root, run history, home, temporary folder) is watched.
"""

import base64
import contextlib
import io
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rapidfuzz import fuzz

from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.scans.identity import normalise_subject
from fusc_pipeline_tests.integration.canaries import (
    DAY,
    STEM,
    UID,
    Search,
    counted,
    database_values,
    flat_columns,
    png_chunks,
    unpacked,
)
from fusc_pipeline_tests.integration.planted import (
    BURNT,
    DARK_WORD,
    PATIENT,
    SYNTAXES,
    TURNED_WORDS,
    burnt_frames,
    png_bytes,
    write_delivery,
    write_every_syntax,
)

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 8
WITHOUT_TEXT = {"IHDR", "PLTE", "tRNS", "IDAT", "IEND"}
# The smallest settings with which the whole graph runs on a few frames.
TINY = {
    "scans": {"workers": 1},
    "burned_in_text": {"workers": 1, "engine": "rapidocr"},  # starts in a third of the time; EasyOCR: the slow test
    "clean_images": {"workers": 1},
    "simclr_encoder": {"epochs": 1, "batch_size": 4, "image_size": 32},
    "simclr_neighbors": {"n_neighbors": 2},
    "supervised": {"epochs": 1, "batch_size": 4, "image_size": 32},
    "kmeans_simclr": {"n_clusters": [2], "seeds": [0], "n_init": 1},
    "fusc_simclr": {"n_clusters": [2], "seeds": [0], "epochs": 1, "batch_size": 4},
    "fusc_simclr_selflabel": {"epochs": 1, "batch_size": 4},
    "dino_encoder": {
        "epochs": 1,
        "batch_size": 4,
        "image_size": 32,
        "n_local": 1,
        "encoder": {"name": "vit_tiny_patch16_224"},
    },
    "dino_neighbors": {"n_neighbors": 2},
    "kmeans_dino": {"n_clusters": [2], "seeds": [0], "n_init": 1},
    "fusc_dino": {"n_clusters": [2], "seeds": [0], "epochs": 1, "batch_size": 4},
    "fusc_dino_selflabel": {"epochs": 1, "batch_size": 4},
    "deepmcat": {"n_clusters": [2], "epochs": 1, "batch_size": 4, "image_size": 32, "backbone": "resnet18"},
    "inpainting_audit": {"sample": 2, "probe_frames": 0, "workers": 1},
}
PARALLEL = {
    "scans": {"workers": 2},
    "burned_in_text": {"workers": 2, "engine": "easyocr"},
    "clean_images": {"workers": 2},
    "inpainting_audit": {"workers": 2, "sample": 20},
}
# The commands of one user in one process, which saves an import of Dagster for each of them. A folder that cannot be
# listed is played: a test that runs as root can list everything.
COMMANDS = """
import errno, json, os, sys
from fusc_pipeline.cli.main import main
from fusc_pipeline.operations.inbox import Inbox
content = Inbox.content
def unlistable(inbox, batch, folder=None):
    if batch == "thursday":
        raise PermissionError(errno.EACCES, "Permission denied", str(inbox.folder(batch) / "x"))
    return content(inbox, batch, folder)
Inbox.content = unlistable
for command in json.loads(sys.argv[1]):
    print("$ exit", main(command), flush=True)
"""


@dataclass(frozen=True)
class Run:
    """What a run left behind. watched: every place it could write to; output: what it printed."""

    watched: Path
    deliveries: Path
    output: str
    exit_codes: list[int]
    frames: int
    files: int

    @property
    def data(self) -> Path:
        return self.watched / "data"

    def tables(self, asset: str) -> list[Path]:
        """The asset's tables, of every batch."""
        return sorted((self.data / "assets" / asset).glob("*/*/table.parquet"))

    def column(self, asset: str, name: str) -> list:
        return [value for path in self.tables(asset) for value in pq.read_table(path).column(name).to_pylist()]


def environment(watched: Path) -> dict[str, str]:
    """The caller's environment with every place a program writes to moved under `watched`, which is made."""
    for name in ("home", "tmp", "dagster", "work"):
        (watched / name).mkdir(parents=True)
    (watched / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUSC_", "DAGSTER_", "XDG_"))}
    return kept | {
        "HOME": str(watched / "home"),
        "TMPDIR": str(watched / "tmp"),
        "DAGSTER_HOME": str(watched / "dagster"),
        "FUSC_DATA": str(watched / "data"),
        "MPLCONFIGDIR": matplotlib.get_configdir(),  # its list of fonts takes half a minute to make anew
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def settings() -> list[str]:
    return [f"--set={asset}.{name}={value}" for asset, fields in TINY.items() for name, value in fields.items()]


def deliver(deliveries: Path) -> dict[str, int]:
    """Four folders: one with everything, a public data set's layout, one without a scan, one that cannot be listed."""
    whole = deliveries / f"{STEM} Nowakowska"
    written = write_delivery(whole, n_frames=FRAMES)
    (frame,) = burnt_frames(1)
    public = deliveries / f"{STEM} public"
    (public / "Images").mkdir(parents=True)
    name = f"Patient00007_Plane1_{STEM}"
    header = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train\n"
    rows = [
        f"{name};7;Fetal femur;Not A Brain;{STEM};Voluson E6;1",
        f"{name}_2;7;{STEM};Not A Brain;{STEM};{STEM};1",
        f"{name}_3;{STEM};Fetal femur;Not A Brain;{STEM};Aloka;1",
        f"{name}_4;7;Fetal femur;Not A Brain;{STEM};Aloka;1",
    ]
    (public / "FETAL_PLANES_DB_data.csv").write_text(header + "\n".join(rows))
    for place in (name, f"{name}_2", f"{name}_3", f"extra {STEM}"):
        (public / "Images" / f"{place}.png").write_bytes(png_bytes(np.roll(frame, len(place), 1)))
    for other in ("nothing", "unlistable"):
        (deliveries / f"{STEM} {other}").mkdir()
        (deliveries / f"{STEM} {other}" / ".DS_Store").write_text(STEM)
    return written


def run_commands(watched: Path, commands: list[list[str]], before: str = "") -> tuple[str, list[int]]:
    """Output (stdout and stderr) and exit codes; `before` is run first in the commands' process."""
    done = subprocess.run(
        [sys.executable, "-c", before + COMMANDS, json.dumps(commands)],
        cwd=watched / "work",
        env=environment(watched),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=900,
        check=False,
        umask=0o022,
    )
    text = done.stdout.decode("utf-8", "surrogateescape")
    return text, [int(line.split()[-1]) for line in text.splitlines() if line.startswith("$ exit")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole graph on the planted batch, ingestion alone on the public one, and two runs that fail."""
    base = tmp_path_factory.mktemp("deid")
    deliveries, watched = base / f"from {STEM}", base / "watched"
    deliveries.mkdir()
    written = deliver(deliveries)
    before = {path: path.lstat().st_mtime_ns for path in deliveries.rglob("*")}
    commands = [["init"]]
    places = {"monday": "Nowakowska", "tuesday": "public", "wednesday": "nothing", "thursday": "unlistable"}
    for key, place in places.items():
        commands.append(["add-batch", str(deliveries / f"{STEM} {place}"), "--key", key])
    commands.append(["run", "--batch", "monday", *settings()])
    ingestion = 'key:"scans" or key:"rejected_scans"'
    for key in ("tuesday", "wednesday", "thursday"):
        commands.append(["run", "--batch", key, "--select", ingestion, "--set=scans.workers=1"])
    output, exit_codes = run_commands(watched, commands)
    (watched / "output.txt").write_text(output, errors="surrogateescape")
    assert {path: path.lstat().st_mtime_ns for path in deliveries.rglob("*")} == before, "the delivery was touched"
    yield Run(watched, deliveries, output, exit_codes, written["frames"], written["files"])
    shutil.rmtree(base, ignore_errors=True)


def test_the_runs_did_what_they_were_made_for(finished):
    assert finished.exit_codes == [0] * 5 + [0, 0, 1, 1], finished.output[-4000:]
    assert "cluster_report" in finished.output
    formats = finished.column("scans", "source_format")
    assert {"dicom", "png", "jpeg", "tiff"} <= set(formats) and len(formats) >= finished.frames
    reasons = set(finished.column("rejected_scans", "reason"))
    assert {"damaged", "truncated", "not_an_image", "link", "unsupported_encoding", "not_ultrasound"} <= reasons
    assert len(finished.column("corpus", "image_id")) >= finished.frames - 1


def test_no_planted_string_is_in_any_byte_that_came_out(finished):
    assert planted_in(finished) == {}


def planted_in(run: Run) -> dict[str, int]:
    """What the search finds in everything the run wrote or said, the owner's private folder left out."""
    paths = [path.relative_to(run.deliveries).as_posix() for path in run.deliveries.rglob("*")]
    identities = [PATIENT, normalise_subject(PATIENT), UID, DAY, *paths, *(path.rpartition("/")[2] for path in paths)]
    identities += [f"{PATIENT}{number}" for number in range(run.frames)] + [str(run.deliveries)]
    words = [word[:6] for text in BURNT for word in text.split() if len(word) > 4]
    return counted(Search(identities, words).tree(run.watched, exempt=[run.data / "private"]))


def test_the_search_finds_every_form_of_what_is_planted(finished, tmp_path):
    """The search itself: in the two places that are exempt, and in each kind of file a run writes."""
    found = counted(Search().tree(finished.deliveries))
    for kind in ("the name", "(plain)", "PNG zTXt inflated", "PNG iTXt inflated", "zip member"):
        assert any(kind in hit for hit in found), kind
    assert any("(plain)" in hit for hit in counted(Search().tree(finished.data / "private")))
    for number, form in enumerate(hidden_forms(STEM)):
        (tmp_path / f"{number}.bin").write_bytes(b"\x00\xff" * 40_000 + b"?" * (number % 3) + form)
    pq.write_table(pa.table({"a": [{"b": [f"so {STEM}"]}]}), tmp_path / "t.parquet", compression="zstd")
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as base, base:
        base.execute("create table t (a blob)")
        base.execute("insert into t values (?)", (zlib.compress(f'{{"a": "{STEM}"}}'.encode()),))
    missed = {path.name for path in tmp_path.iterdir()} - {hit.split("'")[1] for hit in Search().tree(tmp_path)}
    assert not missed


def hidden_forms(text: str) -> list[bytes]:
    """What programs make of a string on its way into a file."""
    plain = text.encode()
    packed = [base64.b64encode(b"x" * shift + plain + b"y" * 5) for shift in range(3)]
    codes = [text.encode(code) for code in ("utf-16", "utf-16-be", "utf-32", "latin-1")]
    return [
        plain, plain.lower(), plain.title(), plain[::-1], plain.hex().encode(), plain.hex().upper().encode(),
        plain.lower().hex().encode(), *packed, *codes, "".join(f"%{c:02X}" for c in plain).encode(),
    ]  # fmt: skip


def test_no_byte_around_the_pixels_became_a_pixel(finished):
    """Bytes beyond an element, or within one whose length is wrong, would stand in the rows of a picture as such."""
    pictures = finished.column("scans", "png") + [i["bytes"] for i in finished.column("clean_images", "image") if i]
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            assert STEM.encode() not in np.asarray(image).tobytes()
    reasons = finished.column("rejected_scans", "reason")
    assert {"empty_picture", "truncated", "damaged"} <= set(reasons)


def test_pictures_that_leave_carry_pixels_and_nothing_else(finished):
    for asset in ("scans", "clean_images"):
        pictures = [
            value
            for path in finished.tables(asset)
            for batch in pq.ParquetFile(path).iter_batches()
            for _, values in flat_columns(batch)
            for value in values
            if isinstance(value, bytes)
        ]
        assert pictures
        assert {kind for picture in pictures for kind, _ in png_chunks(picture)} <= WITHOUT_TEXT


def test_raw_words_are_not_kept(finished):
    assert set(finished.column("burned_in_text", "text")) == {None}
    assert any(finished.column("burned_in_text", "confidence"))  # some were read


def test_no_burnt_in_word_can_be_read_from_a_clean_image(finished):
    from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine

    assert_unreadable(finished, RapidOcrEngine.sensitive())


def assert_unreadable(run: Run, engine) -> None:
    """None of the burnt-in words, whole or mangled, is in any clean image; the engine reads them in a delivered one."""
    delivered = " ".join(word.text for frame in burnt_frames(4) for word in engine.read(frame))
    seen = (*BURNT[:2], *TURNED_WORDS, DARK_WORD)
    assert all(fuzz.partial_ratio(text, delivered) > 80 for text in seen), delivered
    images = [image["bytes"] for image in run.column("clean_images", "image") if image]
    assert len(images) >= run.frames - 1
    assert left_in(images, engine) == []


def left_in(pictures: list[bytes], engine) -> list[str]:
    """Readings, in whatever direction, that are like a burnt-in word."""
    burnt = {part for whole in BURNT for part in whole.split() if len(part) > 2}
    found = []
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            pixels = np.asarray(image.convert("L"))
        # The engine reads lines that run upwards and downwards; a picture upside down it finds other ones on.
        turned = (pixels, np.ascontiguousarray(pixels[::-1, ::-1]))
        words = [part for view in turned for word in engine.read(view) for part in word.text.split()]
        found += [word for word in words if any(fuzz.ratio(word.casefold(), text.casefold()) > 70 for text in burnt)]
    return found


def pictures_in(run: Run) -> list[bytes]:
    """Every different picture in the run history, the metadata, the page and the galleries."""
    found: dict[bytes, None] = {}
    for path in sorted(run.watched.rglob("*")):
        closed = {"private", "scans"} & set(path.relative_to(run.watched).parts)
        if path.is_file() and not closed and path.suffix in {".db", ".html", ".json", ".jpg", ".png", ".svg"}:
            values = [value for _, value in database_values(path)] if path.suffix == ".db" else [path.read_bytes()]
            parts = [part for data in values for kind, part in unpacked(data) if kind == "data URI"] + values
            found |= {part: None for part in parts if part[:3] == b"\xff\xd8\xff" or part[:4] == b"\x89PNG"}
    return list(found)


def test_failed_runs_say_what_to_do_without_saying_where(finished):
    told = finished.output.split("$ exit")
    assert "holds no scans" in told[7] and "$" not in told[7]
    assert "Permission denied (PermissionError)" in told[8]


def test_what_may_name_somebody_is_for_its_owner_only(finished):
    """Whatever the umask (here 022): private folder, raw pixels and words are closed to others."""
    closed = [finished.data / "private"]
    # `locks` holds, for the owner as well, nothing but which process makes which batch.
    places = [place for name in ("scans", "burned_in_text") for place in finished.data.glob(f"*/{name}")]
    closed += [place for place in places if place.parent.name != "locks"]
    for folder in closed:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder.name
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "current":
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    names = (finished.data / "private" / "files" / "monday.json").read_text()
    assert STEM in names  # the owner can trace every row back


def test_a_batch_without_a_key_of_its_own_is_not_named_after_its_folder(tmp_path):
    inbox = Inbox(tmp_path / "data")
    for name in ("Nowakowska", "Zofia"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    first = inbox.default_key(tmp_path / "Nowakowska")
    assert first == "batch-0001"
    inbox.register(first, tmp_path / "Nowakowska")
    assert inbox.default_key(tmp_path / "Nowakowska") == first
    assert inbox.default_key(tmp_path / "Zofia") == "batch-0002"
    (tmp_path / "data" / "inbox" / "monday").mkdir(parents=True)
    assert inbox.default_key(tmp_path / "data" / "inbox" / "monday") == "monday"  # its name was chosen to be a key


@pytest.mark.slow
def test_every_syntax_through_the_processes_of_dagsters_own_command(tmp_path):
    """Everything planted in a file of each transfer syntax; EasyOCR reads; each step is a process of its own."""
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine
    from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine

    deliveries, watched = tmp_path / f"from {STEM}", tmp_path / "watched"
    whole = deliveries / f"{STEM} whole"
    written = write_delivery(whole, n_frames=2 * FRAMES)
    write_every_syntax(whole / f"{STEM} more", burnt_frames(2 * FRAMES + len(SYNTAXES))[2 * FRAMES :])
    command = ["dagster", "asset", "materialize", "--select", "*", "--partition", "monday"]
    command += ["-m", "fusc_pipeline.definitions", "-c", "tiny.json"]
    places = environment(watched)
    ops = {asset: {"config": {**fields, **PARALLEL.get(asset, {})}} for asset, fields in TINY.items()}
    config = {"ops": ops, "execution": {"config": {"multiprocess": {}}}}
    (watched / "work" / "tiny.json").write_text(json.dumps(config))
    said = b""
    for arguments in (["fusc", "init"], ["fusc", "add-batch", str(whole), "--key", "monday"], command):
        program = Path(sys.executable).parent / arguments[0]
        done = subprocess.run(
            [program, *arguments[1:]], cwd=watched / "work", env=places, capture_output=True, timeout=1800, check=False
        )
        said += done.stdout + done.stderr
        assert done.returncode == 0, said[-4000:].decode(errors="replace")
    (watched / "output.txt").write_bytes(said)
    run = Run(watched, deliveries, said.decode(errors="replace"), [0, 0, 0], written["frames"], written["files"])
    assert {str(syntax) for syntax in SYNTAXES} <= set(run.column("scans", "transfer_syntax"))
    assert planted_in(run) == {}
    for engine in (RapidOcrEngine.sensitive(), EasyOcrEngine(canvas=800)):
        assert_unreadable(run, engine)
    shown = pictures_in(run)
    assert len(shown) > 5
    assert left_in(shown, RapidOcrEngine.sensitive()) == []


# Ways in which a change of the code could let something out, each played in the process that runs the commands.
LEAKS = {
    "nothing": "pass",
    "a raw UID in a column": "row.row['study_key'] = UID",
    "an unkeyed hash": "row.row['subject_key'] = hashlib.sha256(PATIENT.encode()).hexdigest()[:32]",
    "a name in hexadecimal": "row.row['machine'] = ('x' + STEM).encode().hex()",
    "a part of a name": "row.row['machine'] = 'mylab ' + STEM[:4].lower()",
    "a text chunk of a picture": "row.row['png'] = png_bytes(np.zeros((4, 4), np.uint8))",
    "a log line": "logging.getLogger('fusc').error('read %s', STEM)",
    "a file left behind": "open(tempfile.mktemp(), 'wb').write(base64.b64encode(b'1' + STEM.encode()))",
    "the words of an error": "raise OSError(2, 'No such file', STEM)",
}
LEAKING = """
import base64, hashlib, logging, sys, tempfile
import numpy as np
import fusc_pipeline.defs.engine.failures as failures
import fusc_pipeline.scans.batch as batch
from fusc_pipeline_tests.integration.canaries import STEM, UID
from fusc_pipeline_tests.integration.planted import PATIENT, png_bytes
reading = batch.iter_batch
def leaking(*given, **named):
    for row in reading(*given, **named):
        if isinstance(row, batch.ScanRow):
            {leak}
        yield row
batch.iter_batch = leaking
failures._without_words = lambda error, private: str(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS)
def test_the_search_finds_what_a_careless_change_would_let_out(tmp_path, leak):
    deliveries = tmp_path / "from"
    deliveries.mkdir()
    deliver(deliveries)
    commands = [["init"], ["add-batch", str(deliveries / f"{STEM} public"), "--key", "monday"]]
    commands.append(["run", "--batch", "monday", "--select", 'key:"scans"', "--set=scans.workers=1"])
    watched = tmp_path / "watched"
    output, _ = run_commands(watched, commands, LEAKING.replace("{leak}", LEAKS[leak]))
    (watched / "output.txt").write_text(output)
    found = planted_in(Run(watched, deliveries, output, [], 0, 0))
    assert bool(found) == (leak != "nothing"), f"{found}\n{output[-2000:]}"
