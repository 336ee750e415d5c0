"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) as a number: how much of a classifier's attention lies in an area.

The paper looked at such maps to see that removed text is not what a view is told by; here the share of their mass
inside the former text areas is set against the areas' share of the picture, and against the mass in the same shape
elsewhere on it. Training the classifier is elsewhere; which figures are made of this and what they mean:
`attention_rows`.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal import fftconvolve
from torch import Tensor, nn

# Share of an area's pixels that must lie in the part that counts wherever the area is moved to.
_KEPT = 0.95


def grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Attention maps (B, S, S) ≥ 0 for images (B, C, S, S) and class numbers (B,): equations 1 and 2, without softmax.

    layer: the module of `model` whose output (B, D, h, w) is weighed, for a ResNet its last block. The map is scaled to
    the images' size; it is zero where no feature speaks for the class. The model is in eval mode here, and left so.
    """
    model.eval()
    with _output_of(layer) as kept, torch.enable_grad():
        logits = model(images)
        score = logits.gather(1, classes.to(logits.device)[:, None]).sum()
        features = kept[0]
        (gradient,) = torch.autograd.grad(score, features)
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    maps = F.relu((weights * features.detach().float()).sum(1, keepdim=True))
    return F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


@contextlib.contextmanager
def _output_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """The outputs that `layer` gives meanwhile."""
    kept: list[Tensor] = []

    # The output must take a gradient even where no parameter before it does.
    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept.append(output.requires_grad_())

    hook = layer.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


@dataclass(frozen=True)
class AttentionShare:
    """mass: share of the attention inside the area, 0 to 1 (NaN for a map of zeros); area: what it is set against, the
    area's share of the picture or the mass in its control (`control_mass`), NaN where there is none."""

    mass: np.ndarray
    area: np.ndarray

    def ratio(self) -> float:
        """Mean mass over mean area: about 1, the area is as interesting as any other; far above, it gives the class
        away. NaN without a picture that has both an area and a map."""
        known = self.known
        return float(self.mass[known].mean() / self.area[known].mean()) if known.any() else float("nan")

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: the pictures that count."""
        return ~np.isnan(self.mass) & (self.area > 0)


def attention_share(maps: np.ndarray, areas: np.ndarray, within: np.ndarray | None = None) -> AttentionShare:
    """Attention maps (N, S, S) and areas (N, S, S) bool → the shares of each picture.

    within (N, S, S) bool: the part of the picture that counts (the fan: what is outside is black and draws nothing).
    """
    counts = np.ones(areas.shape, bool) if within is None else within
    mass = np.where(counts, maps, 0.0).astype(np.float64)
    total = mass.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = np.where(total > 0, (mass * areas).sum((1, 2)) / total, np.nan)
        area = (areas & counts).sum((1, 2)) / np.maximum(counts.sum((1, 2)), 1)
    return AttentionShare(inside, area)


def control_mass(maps: np.ndarray, areas: np.ndarray, within: np.ndarray) -> np.ndarray:
    """(N,) share of each map's mass in the picture's area, were it elsewhere: the mean over every place the area can be
    moved to as it is, inside `within` and clear of itself where it was. NaN without such a place, an area or a map.

    maps (N, S, S) >= 0; areas, within (N, S, S) bool. The middle of a fan draws more attention than its rim by itself;
    an area moved about has its share of that, where its share of the picture has not.
    """
    found = np.full(len(maps), np.nan)
    for place, (attention, area, inside) in enumerate(zip(maps, areas & within, within, strict=True)):
        mass = np.where(inside, attention, 0.0).astype(np.float64)
        if not area.any() or not mass.sum():
            continue
        # Cross-correlations: entry (dy, dx) is the sum under the area moved by it.
        moved = area[::-1, ::-1].astype(np.float64)
        in_fan, on_itself, under = (fftconvolve(part, moved) for part in (inside, area, mass))
        free = (in_fan >= _KEPT * area.sum() - 0.5) & (on_itself < 0.5)
        if free.any():
            found[place] = max(0.0, under[free].mean() / mass.sum())
    return found


def bootstrap_ratio(
    share: AttentionShare, groups: np.ndarray, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Interval of `AttentionShare.ratio` when whole groups (N,) (subjects) are drawn again with replacement."""
    rng = np.random.default_rng(seed)
    names, place = np.unique(groups, return_inverse=True)
    known = share.known
    # Only sums over groups matter to a ratio of means, and how often each group is drawn.
    mass, area = (np.bincount(place[known], of[known], len(names)) for of in (share.mass, share.area))
    drawn = rng.integers(0, len(names), (draws, len(names)))
    times = np.apply_along_axis(np.bincount, 1, drawn, minlength=len(names))
    with np.errstate(invalid="ignore"):
        ratios = (times @ mass) / (times @ area)
    low, high = np.nanquantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def attention_maps(
    model: nn.Module, layer: nn.Module, inputs: Callable[[Tensor], Tensor], classes: np.ndarray, batch: int = 64
) -> np.ndarray:
    """(N, S, S) float32 maps of the samples 0 to N−1 for the classes (N,); `inputs(indices)` gives plain images."""
    found = []
    for start in range(0, len(classes), batch):
        rows = torch.arange(start, min(start + batch, len(classes)))
        found.append(grad_cam(model, layer, inputs(rows), torch.from_numpy(classes[rows.numpy()])).cpu().numpy())
    return np.concatenate(found)
