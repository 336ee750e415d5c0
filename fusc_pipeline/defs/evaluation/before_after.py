"""Frames before and after cleaning side by side, for the audits: the one place outside the text stage that decodes
delivered pixels. They stay in memory; what is made of them may not show them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    from fusc_pipeline.audits.windows import SideBySide


def side_by_side(store: Store, frames: pa.Table) -> "Iterator[SideBySide]":
    """Every one of these frames of the corpus, batch by batch."""
    import pyarrow.compute as pc

    from fusc_pipeline.audits.windows import SideBySide, fan_area, grey_of
    from fusc_pipeline.base.png import decode_png

    for batch in frames.column("scan_batch").unique().to_pylist():
        ids = frames.filter(pc.field("scan_batch") == batch).column("image_id")
        wanted = pc.field("image_id").isin(ids.combine_chunks())
        cleaned = {}
        columns = ["image_id", "image", "crop_x0", "crop_y0"]
        for row in store.dataset("clean_images", batch).to_table(columns, filter=wanted).to_pylist():
            cleaned[row["image_id"]] = (row["image"]["bytes"], row["crop_x0"], row["crop_y0"])
        for piece in store.dataset("scans", batch).to_batches(["image_id", "png"], filter=wanted, batch_size=16):
            for scan in piece.to_pylist():
                png, left, top = cleaned[scan["image_id"]]
                clean = decode_png(png)
                fan = fan_area(clean)
                height, width = clean.shape
                delivered = grey_of(decode_png(scan["png"]))[top : top + height, left : left + width]
                yield SideBySide(scan["image_id"], clean, delivered, fan)
