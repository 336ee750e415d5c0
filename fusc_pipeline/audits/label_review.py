"""The label audit outside of Dagster: draw a sample into a page, take a reviewer's answers in, hand them to the asset.

Everything here lies in the private folder of the data root (0700, files 0600), for the page shows delivered pixels and
answers are filed by reviewer:

    private/label_audit/<sample>/sample.json, page.html, answers-<reviewer>.json
    private/label_audit/current      the sample answered last

Which frames are drawn, what the page looks like and what answers mean is `evaluation`'s part.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.host.atomic import replace_text
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    from fusc_pipeline.audits.label_page import Item
    from fusc_pipeline.audits.label_sample import SampleConfig

SAMPLE, PAGE, CURRENT = "sample.json", "page.html", "current"
_ID = re.compile(r"[0-9a-f]{12}")
_REVIEWER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MOST_BYTES = 20_000_000
_AROUND = 4  # pixels shown around a word's box
_EDGE = 480  # longest side of a frame on the page, pixels


@dataclass(frozen=True)
class Reviewed:
    """A sample and the answers to it. rows: one dict per frame (image_id, scan_batch, stratum, stratum_size,
    stratum_sample, view); answers: per reviewer, in the order of their keys, image_id → {"answer", "view"}."""

    sample: str
    rows: list[dict[str, Any]]
    answers: list[dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Drawn:
    """A sample that was drawn: its id, its page, and the frames on it with and without a label."""

    sample: str
    page: Path
    labelled: int
    unlabelled: int


def draw_page(store: Store, private: Path, config: "SampleConfig", batches: Sequence[str] = ()) -> Drawn:
    """Draw a sample from the corpus (of these batches; empty: all) and write its page; the same call writes the same.

    Raises BadInput when the corpus has not been made, or for a batch it does not know.
    """
    import pandas as pd

    from fusc_pipeline.audits.label_page import render_page
    from fusc_pipeline.audits.label_sample import draw

    corpus = store.table("corpus", columns=["image_id", "scan_batch", "view"]).to_pandas()
    known = sorted(corpus["scan_batch"].unique())
    for batch in batches:
        if batch not in known:
            raise BadInput(f"the corpus holds no frame of batch {batch!r}; batches with frames: {', '.join(known)}")
    if batches:
        corpus = corpus[corpus["scan_batch"].isin(list(batches))]
    sample = draw(corpus, config).merge(corpus, on="image_id", how="left", validate="one_to_one")
    sample["view"] = sample["view"].astype(object).where(sample["view"].notna(), None)
    rows = sample.to_dict("records")
    identity = digest([config.model_dump(), rows])[:12]
    folder = _folder(private) / identity
    items = {item.image_id: item for batch, part in sample.groupby("scan_batch") for item in _items(store, batch, part)}
    _write(folder / SAMPLE, json.dumps({"sample": identity, "config": config.model_dump(), "rows": rows}))
    _write(folder / PAGE, render_page(identity, [items[row["image_id"]] for row in rows]))
    labelled = int(pd.notna(sample["view"]).sum())
    return Drawn(identity, folder / PAGE, labelled, len(rows) - labelled)


def _items(store: Store, batch: str, sample) -> Iterator["Item"]:
    """What the page shows of one batch's frames."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from fusc_pipeline.audits.label_page import Item
    from fusc_pipeline.base.png import decode_png
    from fusc_pipeline.pictures.gallery import thumbnail

    wanted = pc.field("image_id").isin(pa.array(sample["image_id"].tolist()))

    def rows(asset: str, columns: list[str]) -> list[dict]:
        return store.dataset(asset, batch).to_table(columns=["image_id", *columns], filter=wanted).to_pylist()

    matches = {row["image_id"]: row for row in rows("pseudo_labels", ["alias", "score"])}
    clean = {row["image_id"]: row for row in rows("clean_images", ["image", "crop_x0", "crop_y0"])}
    words: dict[str, list[dict]] = {}
    for row in rows("burned_in_text", ["word", "x0", "y0", "x1", "y1", "view"]):
        if row["word"] >= 0:
            words.setdefault(row["image_id"], []).append(row)
    view_of = dict(zip(sample["image_id"], sample["view"], strict=True))
    for piece in store.dataset("scans", batch).to_batches(columns=["image_id", "png"], filter=wanted, batch_size=16):
        for scan in piece.to_pylist():
            image_id = scan["image_id"]
            view, frame = view_of[image_id], clean[image_id]
            boxes = _shown_boxes(words.get(image_id, []), view, frame)
            screen = decode_png(scan["png"])
            yield Item(
                image_id=image_id,
                label=view,
                alias=matches[image_id]["alias"] if view else None,
                score=matches[image_id]["score"] if view else None,
                crops=[_crop(screen, box) for box in boxes],
                frame=thumbnail(frame["image"]["bytes"], _EDGE)[0],
            )


def _shown_boxes(words: Sequence[dict], view: str | None, frame: dict) -> list[tuple[int, int, int, int]]:
    """Boxes (in the scan) of the words that named the view; without a label, of words over the picture: what is typed
    there is an annotation, while names and dates stand around it."""
    from fusc_pipeline.audits.windows import INSIDE, fan_area, inside_share
    from fusc_pipeline.base.png import decode_png

    boxes = [(word["x0"], word["y0"], word["x1"], word["y1"]) for word in words]
    if view is not None:
        return [box for box, word in zip(boxes, words, strict=True) if word["view"] == view]
    if not boxes:
        return []
    fan = fan_area(decode_png(frame["image"]["bytes"]))
    left, top = frame["crop_x0"], frame["crop_y0"]
    return [
        (x0, y0, x1, y1)
        for x0, y0, x1, y1 in boxes
        if inside_share(fan, (x0 - left, y0 - top, x1 - left, y1 - top)) >= INSIDE
    ]


def _crop(screen: np.ndarray, box: tuple[int, int, int, int]) -> bytes:
    from fusc_pipeline.base.png import encode_png

    x0, y0, x1, y1 = box
    part = screen[max(0, y0 - _AROUND) : y1 + _AROUND, max(0, x0 - _AROUND) : x1 + _AROUND]
    return encode_png(np.ascontiguousarray(part))


def take_answers(private: Path, file: Path, reviewer: str) -> tuple[str, int, int]:
    """Check a file of answers and keep it as this reviewer's; returns (sample, frames answered, frames of the sample).

    Answers of the same reviewer to the same sample are replaced. Raises BadInput for what is not the page's file, an
    unknown sample, frame, answer or view; BadSetting for a reviewer's key that cannot name a file.
    """
    if not _REVIEWER.fullmatch(reviewer):
        raise BadSetting("--reviewer: use 1 to 32 of a-z, 0-9 and '-', e.g. reader-2; no name is needed")
    content = _read_answers(file)
    rows = {row["image_id"]: row for row in _sample(private, content["sample"])["rows"]}
    for image_id, given in content["answers"].items():
        if image_id not in rows:
            raise BadInput(f"{file.name}: an answer is for a frame that is not in sample {content['sample']}")
        if fault := _fault(given, rows[image_id]["view"]):
            raise BadInput(f"{file.name}: frame {image_id[:16]}: {fault}; save the answers on the page again")
    if not content["answers"]:
        raise BadInput(f"{file.name} holds no answer; judge some frames on the page, then save the answers again")
    folder = _folder(private)
    _write(folder / content["sample"] / f"answers-{reviewer}.json", json.dumps(content["answers"], sort_keys=True))
    _write(folder / CURRENT, content["sample"])
    return content["sample"], len(content["answers"]), len(rows)


def reviewed(private: Path, sample: str = "") -> Reviewed | None:
    """The sample (empty: the one answered last) with all its reviewers' answers; None when nothing was answered."""
    folder = _folder(private)
    if not sample:
        try:
            sample = (folder / CURRENT).read_text().strip()
        except FileNotFoundError:
            return None
    rows = _sample(private, sample)["rows"]
    files = sorted((folder / sample).glob("answers-*.json"))
    return Reviewed(sample, rows, [json.loads(file.read_text()) for file in files]) if files else None


def noise_in_words(store: Store) -> str:
    """What the `label_audit` asset holds, in one sentence."""
    from fusc_pipeline.audits.label_noise import overall

    rate = overall(store.table("label_audit").to_pandas())
    if rate.value is None:
        return "no labelled frame was decided, so there is no noise rate yet"
    return (
        f"{rate.wrong} of {rate.n} judged labels are wrong; of all labels an estimated {rate.value:.1%} "
        f"(95 % interval {rate.low:.1%} to {rate.high:.1%})"
    )


def _read_answers(file: Path) -> dict[str, Any]:
    how = "give the file that the page saves as answers-<sample>.json"
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise BadInput(f"{file.name} is larger than {_MOST_BYTES // 10**6} MB; {how}")
        content = json.loads(file.read_text())
    except OSError as error:
        raise BadInput(f"{file.name} cannot be read ({error.strerror}); {how}") from error
    except ValueError as error:
        raise BadInput(f"{file.name} is no JSON; {how}") from error
    known = isinstance(content, dict) and isinstance(content.get("answers"), dict)
    if not known or not _ID.fullmatch(str(content.get("sample"))):
        raise BadInput(f"{file.name} holds no answers; {how}")
    return content


def _fault(given: Any, label: str | None) -> str | None:
    """What is wrong with one answer, or None."""
    from fusc_pipeline.audits.label_noise import ANSWERS, WRONG

    if not isinstance(given, dict) or given.get("answer") not in ANSWERS:
        return f"an answer is none of {', '.join(ANSWERS)}"
    view = given.get("view")
    if given["answer"] != WRONG:
        return None if view is None else "only a wrong label has another view"
    if view is None:
        return None if label is not None else "a missed label needs the view that the text names"
    if view not in VIEWS:
        return "the view is none of the fifteen"
    return "the view given is the label itself" if view == label else None


def _sample(private: Path, sample: str) -> dict[str, Any]:
    path = _folder(private) / sample / SAMPLE
    if not _ID.fullmatch(sample) or not path.is_file():
        raise BadInput(
            f"sample {sample[:12]!r} was not drawn in this data root; draw one with `fusc audit-labels`, or set "
            "FUSC_DATA to the data root it was drawn in"
        )
    return json.loads(path.read_text())


def _folder(private: Path) -> Path:
    return private / "label_audit"


def _write(path: Path, content: str) -> None:
    """Write for the owner only, whole or not at all."""
    audit = next(parent for parent in path.parents if parent.name == "label_audit")
    for folder in (audit.parent, audit, path.parent):  # the mode of `parents=True` is only the last one's
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    audit.parent.chmod(0o700)
    replace_text(path, content, mode=0o600)
