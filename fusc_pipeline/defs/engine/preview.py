"""Small Markdown inside asset metadata: tables of counts, and pictures as data URIs (they live in the event log).

Every asset shows some of what it holds; what an asset does not show of itself, `add_preview` takes from its table.
Delivered pixels and words as they were read are never shown.
"""

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fusc_pipeline.store.store import PRIVATE_ASSETS

if TYPE_CHECKING:
    from fusc_pipeline.store.store import Draft

MOST_BYTES = 100_000
MOST_WIDTH = 740  # pixels that the dialog shows; what is wider is cut off
FIRST_ROWS = 6
_MOST_LETTERS = 28


def add_preview(draft: "Draft", asset: str) -> None:
    """Give a draft's metadata the first rows of its table, where it shows nothing of itself yet."""
    if any(isinstance(value, dict) and set(value) == {"md"} for value in draft.metadata.values()):
        return
    table = draft.path("table.parquet")
    if asset in PRIVATE_ASSETS or not table.is_file():
        return
    import pyarrow.parquet as pq

    with pq.ParquetFile(table) as file:
        shown = [f.name for f in file.schema_arrow if _is_plain(f.type)]
        schema = pa.schema([file.schema_arrow.field(name) for name in shown])
        batches = itertools.islice(file.iter_batches(batch_size=FIRST_ROWS, columns=shown), 1)
        first = pa.Table.from_batches(batches, schema)
        draft.metadata["preview"] = {"md": rows_markdown(first, file.metadata.num_rows)}


def rows_markdown(table: pa.Table, of: int | None = None) -> str:
    """A Markdown table of the rows as they are; `of`: how many there are in all."""
    if not table.num_rows:
        return "The table is empty."
    lines = [f"| {' | '.join(table.column_names)} |", "|" + "---|" * table.num_columns]
    lines += [f"| {' | '.join(_cell(value) for value in row.values())} |" for row in table.to_pylist()]
    more = f"\n\nThe first {table.num_rows} of {of:,} rows." if of is not None and of > table.num_rows else ""
    return "\n".join(lines) + more


def crossed_table(rows: Mapping[str, Mapping[str, int]], title: str) -> str:
    """A Markdown table of counts: row → column → count, with the largest rows first."""
    columns = sorted({name for counts in rows.values() for name in counts})
    lines = [f"| {title} | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    for name, counts in sorted(rows.items(), key=lambda row: (-sum(row[1].values()), row[0])):
        lines.append(f"| {_cell(name)} | {' | '.join(str(counts.get(column, 0)) for column in columns)} |")
    return "\n".join(lines)


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(str(value).split()).replace("|", "/")
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def image_markdown(picture: bytes, alt: str) -> str:
    """Markdown that shows a PNG or JPEG, made as narrow as the UI's dialog; above 100 kB it is re-encoded as a JPEG."""
    picture = _narrow(picture)
    if len(picture) > MOST_BYTES:
        picture = _shrunk(picture)
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"![{alt}](data:image/{kind};base64,{base64.b64encode(picture).decode()})"


def image_strip(pictures: Sequence[bytes], height: int = 120) -> str:
    """Markdown of some pictures side by side; says so when there is none."""
    from PIL import Image

    if not pictures:
        return "No picture to show."
    images = []
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as opened:
            images.append(opened.convert("L").resize((max(1, opened.width * height // opened.height), height)))
    strip = Image.new("L", (sum(i.width for i in images) + 4 * (len(images) - 1), height), 255)
    x = 0
    for image in images:
        strip.paste(image, (x, 0))
        x += image.width + 4
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=75)
    return image_markdown(buffer.getvalue(), "text-free frames")


def _narrow(picture: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        if image.width <= MOST_WIDTH:
            return picture
        kind = image.format
        small = image.convert("RGB") if image.mode == "P" else image
        small = small.resize((MOST_WIDTH, max(1, image.height * MOST_WIDTH // image.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, kind)
    return buffer.getvalue()


def _shrunk(picture: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB")
    for edge in (1000, 700, 500, 300):
        small.thumbnail((edge, edge))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=75)
        if buffer.tell() <= MOST_BYTES:
            break
    return buffer.getvalue()


def counts_table(table: pa.Table, column: str, title: str, none: str = "(none)", unit: str = "frames") -> str:
    """A small Markdown table of how often each value occurs."""
    found = sorted(table.column(column).value_counts().to_pylist(), key=lambda r: -r["counts"])
    lines = [f"| {title} | {unit} |", "|---|--:|"]
    return "\n".join(lines + [f"| {r['values'] or none} | {r['counts']} |" for r in found])
