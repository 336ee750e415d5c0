"""Small drawn screens for the tests: a speckled fan with text typed over it, and where the ink is."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont


def font(size: int) -> ImageFont.FreeTypeFont:
    """The bold face that travels with matplotlib."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"), size)


def fan_mask(height: int = 300, width: int = 400) -> np.ndarray:
    """(H, W) bool: a sector below the top edge."""
    y, x = np.mgrid[:height, :width]
    radius, angle = np.hypot(x - width / 2, y + 60), np.arctan2(x - width / 2, y + 60)
    return (radius > 90) & (radius < height + 40) & (np.abs(angle) < 0.7)


def tissue(fan: np.ndarray, seed: int = 0, level: float = 70) -> np.ndarray:
    """(H, W) uint8 speckle inside the fan, zero outside."""
    rng = np.random.default_rng(seed)
    field = [cv2.GaussianBlur(rng.standard_normal(fan.shape), (0, 0), sigmaX=2.2, sigmaY=1.2) for _ in range(2)]
    envelope = np.hypot(*field)
    picture = level + 28 * np.log(envelope / envelope.mean() + 0.05)
    return np.where(fan, np.clip(picture, 0, 255), 0).astype(np.uint8)


def typed(picture: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int], size: int = 20):
    """(screen (H, W, 3) uint8, ink (H, W) bool, box) of text typed over a grey or RGB picture."""
    base = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
    image = Image.fromarray(base)
    draw = ImageDraw.Draw(image)
    draw.text(at, text, font=font(size), fill=colour)
    box = tuple(int(v) for v in draw.textbbox(at, text, font=font(size)))
    screen = np.asarray(image)
    return screen, (screen != base).any(axis=2), box
