"""From echo maps to a picture: sound along the beam, speckle, log compression, scan conversion.

No wave simulation: per beam a path integral for attenuation and shadow, and fully developed speckle as complex Gaussian
scatterers under a separable Gaussian point spread (magnitude Rayleigh-distributed; Wagner et al. 1983, IEEE TSU 30).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fusc_pipeline.phantom.canvas import Canvas
from fusc_pipeline.phantom.machine_styles import Fan, Machine

DEPTHS, BEAMS = 320, 256
REFERENCE_HEIGHT = 600
"""Path lengths count in pixels of a screen this high."""
NOISE_POWER = 6e-5


@dataclass(frozen=True)
class Sound:
    """One frame's acoustics. gain_db: shift of every echo; attenuation: relative to what TGC makes good (1 = mean);
    wall: share of the depth that is maternal wall; far_fade: how dark the far field gets, 0 to 1; contact_shadows:
    bundles of beams that lost contact; seed: fixes what belongs to the scene."""

    gain_db: float
    attenuation: float
    wall: float
    far_fade: float
    contact_shadows: int
    seed: int


def picture(
    canvas: Canvas, canvas_step: int, fan: Fan, machine: Machine, sound: Sound, frame_rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(picture (H, W) uint8, zero outside the fan; fan (H, W) bool).

    `sound.seed` fixes what belongs to the scene (gain patches, lost beams, wall); `frame_rng` draws the speckle.
    """
    radius, angle = fan.polar()
    mask = fan.mask(radius, angle)
    near, far = _reach(fan, mask, radius)
    left, right = _reach(fan, mask, angle)
    depth = np.linspace(near, far, DEPTHS, dtype=np.float32)[:, None]
    beam = np.linspace(left, right, BEAMS, dtype=np.float32)[None]
    scene_rng = np.random.default_rng(sound.seed)
    bend_x, bend_y = (_bend(fan.size[0], scene_rng) for _ in range(2))
    at_x = (fan.apex[0] + depth * np.sin(beam) + bend_x) / canvas_step
    at_y = (fan.apex[1] + depth * np.cos(beam) + bend_y) / canvas_step
    echo: np.ndarray
    interface: np.ndarray
    bone: np.ndarray
    echo, interface, bone = (
        cv2.remap(m, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for m in (canvas.echo, canvas.interface, canvas.bone)
    )
    step = (far - near) / DEPTHS  # screen pixels per depth sample
    scale = REFERENCE_HEIGHT / fan.size[0]
    _maternal_wall(echo, interface, depth, fan, sound.wall, scene_rng)
    beam_px = float(depth.mean()) * (right - left) / BEAMS
    interface *= _facing(interface, step, beam_px) * np.exp(_layered(0.8, 14, 10, scene_rng))
    echo = cv2.GaussianBlur(echo, (0, 0), sigmaX=1.5, sigmaY=1.0)  # no edge in the body is one pixel sharp
    echo *= np.exp(_layered(0.4, 40, 12, scene_rng) + _layered(0.3, 90, 30, scene_rng))
    np.add(interface, 0.8 * _fascia(echo, scene_rng), out=interface, casting="same_kind")  # stays float32
    power = (echo + interface) * _path_gain(echo, bone, step * scale, sound, scene_rng)
    widths = (1.15 * machine.grain * fan.zoom**0.5 / step, 3.0 * machine.grain * fan.zoom**0.5 / beam_px)
    speckled = _speckle(power, widths, machine.looks, frame_rng)
    decibels = 10 * np.log10(speckled + NOISE_POWER) + sound.gain_db
    decibels = 0.65 * decibels + 0.35 * cv2.GaussianBlur(decibels, (0, 0), sigmaX=1.4, sigmaY=1.0)  # speckle reduction
    grey = np.clip((decibels + machine.dynamic_range - 13) / machine.dynamic_range, 0, 1) ** machine.gamma
    rows = (radius - near) * ((DEPTHS - 1) / (far - near))
    columns = (angle - left) * ((BEAMS - 1) / (right - left))
    shown = cv2.remap((grey * 245).astype(np.uint8), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shown[~mask] = 0
    return shown, mask


def _reach(fan: Fan, mask: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest radius or angle that the picture shows."""
    shown = values[::4, ::4][mask[::4, ::4]]
    return float(shown.min()), float(shown.max())


def _noise(depth_cells: int, beam_cells: int, rng: np.random.Generator) -> np.ndarray:
    """(DEPTHS, BEAMS) float32 smooth noise, unit variance at its grid's nodes."""
    grid = rng.standard_normal((depth_cells, beam_cells), dtype=np.float32)
    return cv2.resize(grid, (BEAMS, DEPTHS), interpolation=cv2.INTER_CUBIC)


def _layered(strength: float, depth_cells: int, beam_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Log-power noise, longer across the beam than along it: tissue lies in layers under the probe."""
    return strength * _noise(depth_cells, beam_cells, rng)


def _bend(height: int, rng: np.random.Generator) -> np.ndarray:
    """Displacement in screen pixels: bodies are soft, and no outline is an ellipse."""
    return height * (0.012 * _noise(5, 5, rng) + 0.003 * _noise(16, 14, rng))


def _fascia(echo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sparse bright sheets and patches inside tissue."""
    sheets = np.maximum(_noise(45, 12, rng) - 1.3, 0) + np.maximum(_noise(20, 7, rng) - 1.5, 0)
    return sheets * echo * 4


def _maternal_wall(
    echo: np.ndarray, interface: np.ndarray, depth: np.ndarray, fan: Fan, wall: float, rng: np.random.Generator
) -> None:
    """Skin, fat and muscle under the probe, in layers that follow its face. Changes both maps in place."""
    waves = cv2.resize(rng.standard_normal((1, 5), dtype=np.float32), (BEAMS, 1), interpolation=cv2.INTER_CUBIC)
    under = (depth - fan.r0) / (fan.r1 - fan.r0)  # share of the whole depth
    edge = wall * (1 + 0.1 * waves)
    inside = under < edge
    echo[inside] = 0.15
    interface[inside] = 0
    for share in (*rng.uniform(0.1, 0.9, 3), 1.0):
        stripe = np.abs(under - edge * share) < 0.004
        interface[stripe] = rng.uniform(0.4, 1.6)


def _facing(interface: np.ndarray, depth_px: float, beam_px: float) -> np.ndarray:
    """Share of an interface's echo that comes back: all when it faces the beam, little when it runs along it."""
    soft = cv2.GaussianBlur(interface, (0, 0), 2.0)
    along: np.ndarray = cv2.Sobel(soft, cv2.CV_32F, 0, 1) / depth_px
    across: np.ndarray = cv2.Sobel(soft, cv2.CV_32F, 1, 0) / beam_px
    facing, crossing = (cv2.GaussianBlur(np.square(g), (0, 0), 2.5) for g in (along, across))
    return 0.2 + 0.8 * (facing / (facing + crossing + 1e-9)) ** 1.3


def _path_gain(echo: np.ndarray, bone: np.ndarray, step: float, sound: Sound, rng: np.random.Generator) -> np.ndarray:
    """What is left of the sound on its way: attenuation against TGC, acoustic shadow, lost contact, far-field fade."""
    tissue = np.cumsum(np.minimum(echo, 0.4), axis=0) * step
    expected = 0.13 * step * np.arange(1, DEPTHS + 1, dtype=np.float32)[:, None]
    log_gain = -0.022 * sound.attenuation * (tissue - expected)
    # The beam is wider than a bone's edge is sharp, and some sound always finds a way round.
    shadow = 0.42 * step * np.cumsum(cv2.GaussianBlur(bone, (0, 0), sigmaX=2.5, sigmaY=0.8), axis=0)
    shadow = np.pad(shadow, ((4, 0), (0, 0)))[:DEPTHS]
    log_gain -= 4.0 * np.tanh(shadow / 4.0)
    tgc = np.interp(np.arange(DEPTHS), np.linspace(0, DEPTHS, 6), rng.normal(0, 0.35, 6)).astype(np.float32)
    fade = np.linspace(0, 1, DEPTHS, dtype=np.float32) ** 3 * (-4.0 * sound.far_fade)
    log_gain += (tgc + fade)[:, None]
    for _ in range(sound.contact_shadows):
        middle, width = rng.uniform(0, BEAMS), rng.uniform(5, 22)
        lost = np.exp(-(((np.arange(BEAMS, dtype=np.float32) - middle) / width) ** 4))
        log_gain -= rng.uniform(0.6, 2.0) * lost[None]
    patches = rng.normal(0, 0.3, (6, 6)).astype(np.float32)
    log_gain += cv2.resize(patches, (BEAMS, DEPTHS), interpolation=cv2.INTER_CUBIC)
    return np.exp(np.maximum(log_gain, -12))


def _speckle(power: np.ndarray, widths: tuple[float, float], looks: int, rng: np.random.Generator) -> np.ndarray:
    """(DEPTHS, BEAMS) received power: mean over `looks` independent speckle patterns (spatial compounding)."""
    amplitude = np.sqrt(power)
    axial, lateral = (max(w, 0.5) for w in widths)
    received = np.zeros_like(power)
    for _ in range(2 * looks):  # real and imaginary parts
        noise = rng.standard_normal(power.shape, dtype=np.float32) * amplitude
        received += cv2.GaussianBlur(noise, (0, 0), sigmaX=lateral, sigmaY=axial) ** 2
    energy = 1 / (4 * np.pi * axial * lateral)  # of the point spread: keeps the mean power
    return received / (2 * looks * energy)
