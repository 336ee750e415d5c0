"""The page on which a person judges pseudo-labels: one self-contained HTML file, answers kept in the browser.

Which frames are shown is `label_sample`'s, what the answers mean `label_noise`'s business.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.pictures.data_uri import data_uri


@dataclass(frozen=True)
class Item:
    """A frame to judge. label, alias, score: the view its text was taken for, the lexicon entry and how well it fits
    (0 to 1), all None without a label; crops: PNG of the delivered screen at the words in question; frame: JPEG of the
    cleaned frame."""

    image_id: str
    label: str | None
    alias: str | None
    score: float | None
    crops: Sequence[bytes]
    frame: bytes


def render_page(sample: str, items: Sequence[Item]) -> str:
    """HTML text: loads nothing, sends nothing. Answers are saved by the browser under the sample's id, and as the file
    `answers-<sample>.json` when the reader asks for it."""
    content = {
        "sample": sample,
        "views": VIEWS,
        "items": [
            {
                "id": item.image_id,
                "label": item.label,
                "alias": item.alias,
                "score": None if item.score is None else round(float(item.score), 3),
                "crops": [data_uri(crop) for crop in item.crops],
                "frame": data_uri(item.frame),
            }
            for item in items
        ],
    }
    environment = Environment(
        loader=PackageLoader("fusc_pipeline.audits"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Inside a script element only "<" could end it, so no such character may stand there.
    data = Markup(json.dumps(content).replace("<", "\\u003c"))
    return environment.get_template("label_audit.html").render(sample=sample, n=len(items), data=data)
