"""Pictures of the inpainting audit: a cleaned frame with frames drawn around what was and what is left.

Only cleaned pixels ever come in here: the delivered ones may show a name.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[int, int, int, int]

FORMER_COLOUR, LEFT_COLOUR = (255, 176, 0), (255, 48, 48)
_MARGIN = 4  # pixels between a box and its outline, so that the outline hides nothing of it


def outlined(clean: np.ndarray, former: Sequence[Box], left: Sequence[Box], cover: bool = False) -> bytes:
    """PNG of a cleaned frame, uint8 (H, W): former text outlined in amber, text still read in red; cover: what is still
    read is painted over, for places from which a picture is not easily taken back."""
    picture = Image.fromarray(clean).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for boxes, colour in ((former, FORMER_COLOUR), (left, LEFT_COLOUR)):
        for x0, y0, x1, y1 in boxes:
            around = (x0 - _MARGIN, y0 - _MARGIN, x1 - 1 + _MARGIN, y1 - 1 + _MARGIN)
            draw.rectangle(around, outline=colour, fill=colour if cover and boxes is left else None, width=2)
    return _png(picture)


def strip(pictures: Sequence[bytes], height: int = 150, most: int = 4) -> bytes | None:
    """The first pictures side by side as a small PNG; None without a picture."""
    images = []
    for picture in pictures[:most]:
        with Image.open(io.BytesIO(picture)) as opened:
            images.append(opened.convert("RGB").resize((max(1, opened.width * height // opened.height), height)))
    if not images:
        return None
    row = Image.new("RGB", (sum(i.width for i in images) + 4 * (len(images) - 1), height), (255, 255, 255))
    x = 0
    for image in images:
        row.paste(image, (x, 0))
        x += image.width + 4
    return _png(row)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
