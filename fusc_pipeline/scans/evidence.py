"""What samples are, told by the samples themselves where a header says nothing, or says what cannot be.

An ultrasound screen is mostly black and grey, and neighbouring pixels differ little: read with the wrong number of
samples, order or width it is rough, read as the wrong colours it is tinted.
"""

import numpy as np

# Samples this near to each other, or to the middle, count as grey.
_NEAR = 6
# Share of the pixels that one reading must explain, and the other must not, to go against what the header says.
_MOST, _FEW = 0.5, 0.1
# Above this a picture is noise: speckle, finely sampled, stays at half of it.
_ROUGH = 0.9
# Too small a picture to contradict a header.
_FEW_PIXELS = 1024
# Rows that are looked at.
_ROWS = 40


def roughness(picture: np.ndarray) -> float:
    """Mean step to the next pixel, across and down, in standard deviations; of (H, W) or (H, W, 3). 0 for even ones."""
    few = picture[:: max(1, picture.shape[0] // _ROWS)].astype(np.float32)
    spread = float(few.reshape(-1, *few.shape[2:]).std(axis=0).mean())
    return _steps(picture) / spread if spread else 0.0


def stored_colours(samples: np.ndarray, told: str | None) -> str | None:
    """ "RGB" or "YBR" for (H, W, 3) stored values of 8 or 16 bits: `told`, unless most pixels say otherwise.

    told: what the header says, None for nothing; then None comes back where the pixels do not tell either.
    """
    as_rgb, as_ybr = grey_shares(samples)
    if as_rgb > _MOST and as_ybr < _FEW:
        return "RGB"
    if as_ybr > _MOST and as_rgb < _FEW:
        return "YBR"
    if told is None and max(as_rgb, as_ybr) > _FEW and as_rgb != as_ybr:
        return "RGB" if as_rgb > as_ybr else "YBR"
    return told


def grey_shares(samples: np.ndarray) -> tuple[float, float]:
    """The shares of (H, W, 3) stored values that are grey as RGB, and as YBR."""
    width = 8 * samples.dtype.itemsize
    middle, near = 1 << (width - 1), _NEAR << (width - 8)
    step = max(1, samples.shape[0] // _ROWS)
    first, second, third = (samples[::step, :, k].astype(np.int32) for k in range(3))
    as_rgb = (np.abs(first - second) <= near) & (np.abs(second - third) <= near)
    as_ybr = (np.abs(second - middle) <= near) & (np.abs(third - middle) <= near)
    return float(as_rgb.mean()), float(as_ybr.mean())


def is_plausible(picture: np.ndarray) -> bool:
    """Whether (H, W) or (H, W, 3) stored values can be a screen: not as rough as noise, and coloured in few places.

    Three frames of a clip read as three samples agree where all of them are black.
    """
    if roughness(picture) > _ROUGH:
        return False
    if picture.ndim == 2:
        return True
    lit = ~(picture == picture.reshape(-1, 3).min(axis=0)).all(axis=2) & ~(picture == picture.max()).all(axis=2)
    return not lit.any() or max(grey_shares(picture[lit][None])) > _MOST


def is_planar(data: bytes, size: tuple[int, int], dtype: np.dtype, told: bool | None) -> bool | None:
    """Whether one frame of three samples lies plane by plane: `told`, unless its pixels say otherwise clearly.

    None where neither the header nor the pixels tell.
    """
    values = np.frombuffer(data, dtype)
    by_plane = np.moveaxis(values.reshape(3, *size), 0, -1)
    by_pixel = values.reshape(*size, 3)
    if told is not None and size[0] * size[1] < _FEW_PIXELS:
        return told
    planar, interleaved = _steps(by_plane), _steps(by_pixel)
    clearly = 1.3 if told is not None else 1.05
    if planar * clearly < interleaved:
        return True
    if interleaved * clearly < planar:
        return False
    return False if told is None and np.array_equal(by_plane, by_pixel) else told


def _steps(picture: np.ndarray) -> float:
    """Mean step to the next pixel, across and down, of (H, W) or (H, W, 3)."""
    # Pairs of neighbouring rows, from all over the picture.
    rows = np.arange(0, max(1, picture.shape[0] - 1), max(1, picture.shape[0] // _ROWS))
    upper = picture[rows].astype(np.float32)
    lower = picture[np.minimum(rows + 1, picture.shape[0] - 1)].astype(np.float32)
    across = np.abs(np.diff(upper, axis=1)).mean() if upper.shape[1] > 1 else 0.0
    return float(across + np.abs(lower - upper).mean())


def is_in_pairs(data: bytes) -> bool:
    """Whether colour bytes are 4:2:2 (Y Y Cb Cr) rather than three samples a pixel: like ones lie 4, not 3, apart."""
    values = np.frombuffer(data, np.uint8).astype(np.int16)
    return float(np.abs(values[4:] - values[:-4]).mean()) < float(np.abs(values[3:] - values[:-3]).mean())


def has_sign(values: np.ndarray, bits: int) -> bool:
    """Whether values that a header calls signed are so: some are negative, and read without a sign they are rougher.

    values: (H, W), two's complement in `bits` bits, unsigned. Frame grabbers set the flag on plain 8-bit screens.
    """
    half = 1 << (bits - 1)
    if not (values >= half).any():
        return False
    return roughness(values.astype(np.int32) ^ half) <= roughness(values)
