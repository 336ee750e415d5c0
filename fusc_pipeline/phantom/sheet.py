"""A contact sheet of frames, to be looked at. No rendering."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fusc_pipeline.phantom.render import PhantomFrame
from fusc_pipeline.phantom.study import font


def contact_sheet(
    frames: Iterable[PhantomFrame], path: Path, columns: int = 6, width: int = 320, anatomy: bool = False
) -> Path:
    """Write a PNG grid of screens (or text-free pictures) with each frame's view below; returns its path."""
    tiles = [_tile(frame, width, anatomy) for frame in frames]
    tall = max(tile.height for tile in tiles)
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * tall), (24, 24, 24))
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k % columns * width, k // columns * tall))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _tile(frame: PhantomFrame, width: int, anatomy: bool) -> Image.Image:
    pixels = np.repeat(frame.anatomy[..., None], 3, axis=2) if anatomy else frame.screen
    height = round(width * pixels.shape[0] / pixels.shape[1])
    tile = Image.new("RGB", (width - 2, height + 18), (24, 24, 24))
    tile.paste(Image.fromarray(pixels).resize((width - 2, height), Image.Resampling.LANCZOS), (0, 0))
    caption = f"{frame.index}  {frame.view}  ({frame.subject}, {frame.machine})"
    ImageDraw.Draw(tile).text((4, height + 2), caption, font=font("DejaVuSans", 11), fill=(235, 235, 235))
    return tile
