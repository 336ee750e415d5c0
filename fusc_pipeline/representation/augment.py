"""Random views of images, drawn per sample and computed per batch on the device. Decoding is `pixels`' part.

torchvision's transforms draw once for a whole batch, so a batch of B images would need B calls; here one
`affine_grid` + `grid_sample` does crop, mirror and rotation of all of them, and the rest is elementwise.
Parameters are drawn on the CPU from an explicit generator: a few numbers per image, the same on every device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.settings import Settings, setting
from fusc_pipeline.representation.pixels import PixelBatches

# Grey level of ultrasound frames, most of it background; a fixed affine map, so that it needs no pass over the data.
MEAN, STD = 0.2, 0.2

View = Callable[[Tensor, torch.Generator], Tensor]


class Augmentation(Settings):
    """What a random view may differ in. Probabilities are per image."""

    min_crop_scale: float = setting(0.2, "smallest crop, as a share of the image's area", 0.01, 1.0)
    max_crop_scale: float = setting(1.0, "largest crop, as a share of the image's area", 0.01, 1.0)
    max_aspect: float = setting(4 / 3, "crops are between 1:this and this:1", 1.0, 4.0)
    mirror_p: float = setting(0.5, "probability of a left-right mirror (LVOT and RVOT are chiral)", 0.0, 1.0)
    rotation_degrees: float = setting(0.0, "rotation is uniform between minus this and this", 0.0, 180.0)
    rotation_p: float = setting(0.8, "probability of a rotation", 0.0, 1.0)
    jitter_p: float = setting(0.8, "probability of a change of brightness, contrast and gamma", 0.0, 1.0)
    brightness: float = setting(0.4, "grey levels are multiplied by 1 ± this", 0.0, 0.9)
    contrast: float = setting(0.4, "distances from the image's mean are multiplied by 1 ± this", 0.0, 0.9)
    saturation: float = setting(0.4, "colour images: distances from grey are multiplied by 1 ± this", 0.0, 0.9)
    hue: float = setting(0.1, "colour images: colours turn by ± this share of a full turn", 0.0, 0.5)
    greyscale_p: float = setting(0.2, "colour images: probability of losing all colour", 0.0, 1.0)
    gamma: float = setting(0.0, "grey levels are raised to exp(± this)", 0.0, 1.0)
    blur_p: float = setting(0.0, "probability of a Gaussian blur", 0.0, 1.0)
    max_blur_sigma: float = setting(1.5, "the blur's standard deviation is 0.1 to this, in pixels", 0.1, 3.0)
    solarise_p: float = setting(0.0, "probability that levels above one half are inverted", 0.0, 1.0)
    cutout_p: float = setting(0.0, "probability of one square set to black", 0.0, 1.0)
    cutout_size: float = setting(0.33, "largest side of that square, as a share of the image's side", 0.0, 0.9)


def strong_augment(rotation_degrees: float = 0.0) -> Augmentation:
    """Views for FUSC's anchors and neighbours and for self-labelling: mild crops, strong grey-level change, cutout.

    It stands in for RandAugment's colour and geometry operations, most of which do nothing to a grey image.
    """
    return Augmentation(
        min_crop_scale=0.5,
        rotation_degrees=rotation_degrees,
        brightness=0.5,
        contrast=0.5,
        gamma=0.4,
        blur_p=0.2,
        cutout_p=0.5,
    )


def supervised_augment(min_crop_scale: float = 0.5, rotation_degrees: float = 0.0) -> Augmentation:
    """Views for the supervised upper line (METHODS §1.7): crop 0.5 to 1, mirror, mild jitter."""
    return Augmentation(
        min_crop_scale=min_crop_scale, rotation_degrees=rotation_degrees, brightness=0.2, contrast=0.2, gamma=0.2
    )


@dataclass(frozen=True)
class Part:
    """Some rows of a batch of `total` images: what is drawn for them is what would be drawn for them in the whole."""

    total: int
    rows: slice


def augment(
    pixels: Tensor,
    config: Augmentation,
    generator: torch.Generator,
    size: int | None = None,
    part: Part | None = None,
) -> Tensor:
    """(B, S, S) uint8 → (B, 1, size, size) float32 standardised random views; `generator` is a CPU generator.

    Colour images, (B, S, S, 3), give three channels. size: side of the views, None for S. Views much smaller than their
    crops alias: nothing is smoothed before. part: which rows of a larger batch the images are.
    """
    draws = _Draws(part or Part(len(pixels), slice(None)), generator, pixels.device)
    images = eval_view(pixels, standardise=False)
    side = size or images.shape[-1]
    grid = F.affine_grid(_affine(config, draws), [*images.shape[:2], side, side], align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if config.jitter_p > 0:
        images = _jitter(images, config, draws)
        if images.shape[1] == 3:
            images = _recolour(images, config, draws)
    if config.blur_p > 0:
        images = _blur(images, config, draws)
    if config.solarise_p > 0:
        images = torch.where(draws.chosen(config.solarise_p).view(-1, 1, 1, 1) & (images >= 0.5), 1 - images, images)
    if config.cutout_p > 0:
        images = _cutout(images, config, draws)
    return (images - MEAN) / STD


def eval_view(pixels: Tensor, standardise: bool = True) -> Tensor:
    """(B, S, S) uint8 → (B, 1, S, S), or (B, S, S, 3) → (B, 3, S, S): float32, unchanged, in [0, 1] or standardised."""
    images = (pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)).to(torch.float32) / 255
    return (images - MEAN) / STD if standardise else images


def augmented_view(
    pixels: np.ndarray,
    config: Augmentation,
    compute: Compute,
    size: int | None = None,
    share: Callable[[int], slice] | None = None,
) -> View:
    """(indices, generator) → random views (of side `size`) of those rows of `pixels` (N, S, S), on the device.

    share: batch size → the part of each batch that is computed here; None: all of it.
    """
    if config.min_crop_scale > config.max_crop_scale:
        raise BadSetting(f"min_crop_scale {config.min_crop_scale} is above max_crop_scale {config.max_crop_scale}")
    batches = PixelBatches(pixels, compute)
    if share is None:
        return lambda indices, generator: augment(batches(indices), config, generator, size)

    def view(indices: Tensor, generator: torch.Generator) -> Tensor:
        part = Part(len(indices), share(len(indices)))
        return augment(batches(indices[part.rows]), config, generator, size, part)

    return view


def plain_view(pixels: np.ndarray, compute: Compute) -> Callable[[Tensor], Tensor]:
    """indices → those rows of `pixels` (N, S, S) as they are, standardised, on the device."""
    batches = PixelBatches(pixels, compute)
    return lambda indices: eval_view(batches(indices))


class _Draws:
    """Per-image random numbers, shape (B,), drawn on the CPU in a fixed order and moved to the device."""

    def __init__(self, part: Part, generator: torch.Generator, device: torch.device):
        self.part, self.generator, self.device = part, generator, device

    def _drawn(self) -> Tensor:
        return torch.rand(self.part.total, generator=self.generator)[self.part.rows]

    def uniform(self, low: float, high: float) -> Tensor:
        return (self._drawn() * (high - low) + low).to(self.device)

    def chosen(self, probability: float) -> Tensor:
        return (self._drawn() < probability).to(self.device)


def _affine(config: Augmentation, draws: _Draws) -> Tensor:
    """(B, 2, 3): output coordinates → input coordinates, both from -1 to 1.

    A box of the drawn area and aspect lies wholly inside the image, and is turned about its own centre; what the turn
    takes from outside the image is black, as everything outside the fan is.
    """
    area = draws.uniform(config.min_crop_scale, config.max_crop_scale)
    aspect = torch.exp(draws.uniform(-math.log(config.max_aspect), math.log(config.max_aspect)))
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    centre_x = draws.uniform(-1, 1) * (1 - width)
    centre_y = draws.uniform(-1, 1) * (1 - height)
    turned = draws.chosen(config.rotation_p)
    angle = draws.uniform(-1, 1) * math.radians(config.rotation_degrees) * turned
    mirror = 1.0 - 2.0 * draws.chosen(config.mirror_p)
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([width * cos * mirror, -height * sin, centre_x], 1)
    second = torch.stack([width * sin * mirror, height * cos, centre_y], 1)
    return torch.stack([first, second], 1)


def _jitter(images: Tensor, config: Augmentation, draws: _Draws) -> Tensor:
    """Brightness, contrast about the image's mean, gamma; clipped to [0, 1]."""
    changed = draws.chosen(config.jitter_p)

    def factor(strength: float, neutral: float = 1.0) -> Tensor:
        drawn = neutral + draws.uniform(-strength, strength)
        return torch.where(changed, drawn, neutral).view(-1, 1, 1, 1)

    brightness, contrast, gamma = factor(config.brightness), factor(config.contrast), factor(config.gamma, 0.0)
    mean = images.mean(dim=(2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).mul(brightness).clamp(0, 1)
    return images.pow(gamma.exp()) if config.gamma > 0 else images


def _recolour(images: Tensor, config: Augmentation, draws: _Draws) -> Tensor:
    """Saturation and hue of (B, 3, S, S), and some images without colour; one 3 x 3 matrix an image."""
    changed = draws.chosen(config.jitter_p)
    saturation = torch.where(changed, 1 + draws.uniform(-config.saturation, config.saturation), 1.0)
    saturation = torch.where(draws.chosen(config.greyscale_p), 0.0, saturation)
    angle = torch.where(changed, draws.uniform(-config.hue, config.hue), 0.0) * 2 * math.pi
    # A turn about the grey axis (Rodrigues), after pulling towards the luma (ITU-R BT.601) along it.
    luma = torch.tensor([0.299, 0.587, 0.114], device=images.device).expand(3, 3)
    eye, third = torch.eye(3, device=images.device), torch.full((3, 3), 1 / 3, device=images.device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=images.device) / math.sqrt(3)
    cos, sin, keep = (value.view(-1, 1, 1) for value in (angle.cos(), angle.sin(), saturation))
    turn = cos * eye + sin * cross + (1 - cos) * third
    matrix = turn @ (keep * eye + (1 - keep) * luma)
    return torch.einsum("bij,bjhw->bihw", matrix, images).clamp(0, 1)


def _blur(images: Tensor, config: Augmentation, draws: _Draws) -> Tensor:
    """Separable Gaussian, one standard deviation per image; unchanged images get a kernel that is 1 at the centre.

    Sums of shifted images instead of a grouped convolution: B groups of one channel are slow on CPU.
    """
    blurred = draws.chosen(config.blur_p)
    sigma = draws.uniform(0.1, config.max_blur_sigma)
    radius = math.ceil(2 * config.max_blur_sigma)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-offsets.square() / (2 * sigma.square().unsqueeze(1)))
    kernel = torch.where(blurred.unsqueeze(1), kernel, (offsets == 0).float())
    kernel = (kernel / kernel.sum(1, keepdim=True)).view(len(images), -1, 1, 1, 1)
    side = images.shape[-1]
    for dim, padding in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded = F.pad(images, padding, mode="replicate")
        images = padded.narrow(dim, 0, side) * kernel[:, 0]
        for tap in range(1, 2 * radius + 1):  # one after another, so that only one is in memory
            images = images + padded.narrow(dim, tap, side) * kernel[:, tap]
    return images


def _cutout(images: Tensor, config: Augmentation, draws: _Draws) -> Tensor:
    """One black square per chosen image, anywhere, its side uniform up to `cutout_size`."""
    half = draws.uniform(0, config.cutout_size / 2) * draws.chosen(config.cutout_p)
    at_x, at_y = draws.uniform(0, 1).view(-1, 1, 1), draws.uniform(0, 1).view(-1, 1, 1)
    side = images.shape[-1]
    position = (torch.arange(side, device=images.device) + 0.5) / side
    half = half.view(-1, 1, 1)
    inside = ((position.view(1, 1, -1) - at_x).abs() < half) & ((position.view(1, -1, 1) - at_y).abs() < half)
    return images.masked_fill(inside.unsqueeze(1), 0.0)
