"""The leak probe: can a small network tell the view from where its name stood, better than from elsewhere on the frame?

One network is trained on the windows where labels stood, one on control windows of the same frames, one on the first
windows before cleaning. Each frame is judged by networks that never saw its subject. The leak is the difference of the
first two shares of frames judged right: what the anatomy around a label tells, the control tells too. The third shows
what a leak would look like: where even it is no better than the control, the probe is too weak to say anything.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from fusc_pipeline.audits.removal_audit import CONTROL, FORMER, UNCLEANED, Leak, Share
from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.settings import Settings, setting
from fusc_pipeline.evaluation.intervals import clustered_mean
from fusc_pipeline.training.loop import Schedule, cosine_with_warmup, decay_groups, train

LEAST_FRAMES, LEAST_SUBJECTS, LEAST_VIEWS = 100, 10, 2
# Random shifts in training, pixels of the window: the probe must not depend on where exactly a letter was.
_SHIFT = (2, 6)


class ProbeConfig(Settings):
    """How the probe is trained."""

    folds: int = setting(3, "parts of the subjects; each is judged by a network trained on the other parts", 2, 20)
    steps: int = setting(300, "training steps of each network", 1, 100_000)
    batch_size: int = setting(16, "windows a step", 2, 4096)
    lr: float = setting(3e-3, "peak learning rate of AdamW", 1e-6, 1.0)
    seed: int = setting(0, "of the parts, weights and order", 0, 2**31 - 1)


def too_few(views: Sequence[str], subjects: Sequence[str]) -> str | None:
    """Why the probe cannot be run on these frames, or None when it can."""
    frames, people, kinds = len(views), len(set(subjects)), len(set(views))
    if frames >= LEAST_FRAMES and people >= LEAST_SUBJECTS and kinds >= LEAST_VIEWS:
        return None
    return (
        f"not measured: {frames} frames of {people} subjects and {kinds} views had a label over the picture; the probe "
        f"needs {LEAST_FRAMES} frames of {LEAST_SUBJECTS} subjects and {LEAST_VIEWS} views"
    )


def measure_leak(
    windows: Mapping[str, np.ndarray],
    views: Sequence[str],
    subjects: Sequence[str],
    config: ProbeConfig,
    compute: Compute,
) -> Leak:
    """Train and judge. windows: FORMER, CONTROL and UNCLEANED, each uint8 (N, h, w); views, subjects: N each.

    Raises ValueError when `too_few` gives a reason.
    """
    if reason := too_few(views, subjects):
        raise ValueError(reason)
    _, labels = np.unique(np.asarray(views), return_inverse=True)
    groups = np.asarray(subjects)
    right = {name: judged(patches, labels, groups, config, compute) == labels for name, patches in windows.items()}

    def share(values: np.ndarray, count: int | None) -> Share:
        return Share(count, *clustered_mean(values.astype(float), groups))

    return Leak(
        n=len(labels),
        subjects=len(set(subjects)),
        accuracy={name: share(hits, int(hits.sum())) for name, hits in right.items()},
        leak=share(right[FORMER].astype(int) - right[CONTROL], None),
        power=share(right[UNCLEANED].astype(int) - right[CONTROL], None),
    )


def judged(
    patches: np.ndarray, labels: np.ndarray, subjects: np.ndarray, config: ProbeConfig, compute: Compute
) -> np.ndarray:
    """(N,) int64: the class each window (N, h, w) uint8 is taken for by a network that never saw its subject."""
    counts = Counter(labels.tolist())
    # A class with fewer frames than parts cannot be spread over them; such classes share one stratum.
    strata = np.array([label if counts[label] >= config.folds else -1 for label in labels.tolist()])
    folds = StratifiedGroupKFold(config.folds, shuffle=True, random_state=config.seed)
    found = np.full(len(labels), -1, np.int64)
    n_classes = int(labels.max()) + 1
    for fold, (learn, test) in enumerate(folds.split(strata, strata, subjects)):
        network = _fit(patches[learn], labels[learn], n_classes, fold, config, compute)
        with torch.inference_mode(), compute.autocast():
            logits = network(_prepared(torch.from_numpy(patches[test]), compute))
        found[test] = logits.argmax(1).cpu().numpy()
    return found


def _fit(
    patches: np.ndarray, labels: np.ndarray, n_classes: int, fold: int, config: ProbeConfig, compute: Compute
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed * 1000 + fold)
        network = compute.place(_network(n_classes)).train()
    optimizer = torch.optim.AdamW(decay_groups([network], 0.05), lr=config.lr)
    pixels, targets = torch.from_numpy(patches), torch.from_numpy(labels).to(compute.device)
    size = min(config.batch_size, len(labels))
    per_epoch = len(labels) // size
    epochs = -(-config.steps // per_epoch)
    rate = cosine_with_warmup(config.lr, epochs * per_epoch, config.steps // 10)
    plan = Schedule(len(labels), epochs, size, config.seed * 1000 + fold, rate)

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        shift = [int(torch.randint(-reach, reach + 1, (1,), generator=generator)) for reach in _SHIFT]
        images = _prepared(torch.roll(pixels[batch], shift, (1, 2)), compute)
        with compute.autocast():
            logits = network(images)
        loss = F.cross_entropy(logits.float(), targets[batch.to(targets.device)], label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    train(plan, step, optimizer, {"network": network})
    return network.eval()


def _network(n_classes: int) -> nn.Module:
    """Four convolutions; the maximum over the window finds a letter's trace wherever it is."""

    def layer(inside: int, outside: int, kernel: tuple[int, int], stride: int = 1) -> list[nn.Module]:
        padding = (kernel[0] // 2, kernel[1] // 2)
        convolution = nn.Conv2d(inside, outside, kernel, stride=stride, padding=padding, bias=False)
        return [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *layer(1, 16, (5, 5), stride=2),
        *layer(16, 32, (3, 3)),
        nn.MaxPool2d(2),
        *layer(32, 64, (3, 3)),
        nn.MaxPool2d((1, 2)),
        *layer(64, 128, (3, 5)),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, n_classes),
    )


def _prepared(pixels: Tensor, compute: Compute) -> Tensor:
    """uint8 (B, h, w) → float (B, 1, h, w), roughly standardised."""
    return compute.formatted(pixels[:, None].to(compute.device).float().sub_(60).div_(50))
