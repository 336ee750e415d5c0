"""Small Markdown inside asset metadata: tables of counts, and pictures as data URIs (they live in the event log)."""

import base64
import io
from collections.abc import Sequence

import pyarrow as pa

MOST_BYTES = 100_000


def image_markdown(picture: bytes, alt: str) -> str:
    """Markdown that shows a PNG or JPEG; above 100 kB it is re-encoded as a smaller JPEG."""
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
        with Image.open(io.BytesIO(picture)) as image:
            images.append(image.convert("L").resize((max(1, image.width * height // image.height), height)))
    strip = Image.new("L", (sum(i.width for i in images) + 4 * (len(images) - 1), height), 255)
    x = 0
    for image in images:
        strip.paste(image, (x, 0))
        x += image.width + 4
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=75)
    return image_markdown(buffer.getvalue(), "text-free frames")


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


def counts_table(table: pa.Table, column: str, title: str, none: str = "(none)") -> str:
    """A small Markdown table of how often each value occurs."""
    found = sorted(table.column(column).value_counts().to_pylist(), key=lambda r: -r["counts"])
    lines = [f"| {title} | frames |", "|---|--:|"]
    return "\n".join(lines + [f"| {r['values'] or none} | {r['counts']} |" for r in found])
