"""Leak test: can a network tell from a cleaned frame which label was typed on it?

Phantom frames whose typed label is independent of the anatomy are read, cleaned with the pipeline's own fan and
masks, and a ResNet18 is trained to predict the typed label. Chance is 1/15; un-cleaned frames show what it could have
read, and plain inpainting (Telea, same masks) what it reads from the traces. Readings and cleaned frames are kept in
the work folder in chunks, so that a stopped run goes on where it was.

    python benchmarks/leak.py --work /tmp/leak --stage read      # OCR, about 0.5 s a frame and core
    python benchmarks/leak.py --work /tmp/leak --stage clean     # masks and refill, about 0.1 s a frame
    python benchmarks/leak.py --work /tmp/leak --stage train     # one line per variant and seed
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torchvision.models import resnet18

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.host.worker_pool import ordered_map
from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import PhantomFrame, render_frame
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.text.colour import grey_and_chroma
from fusc_pipeline.text.easyocr_engine import EasyOcrEngine
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.pool import read_frames
from fusc_pipeline.text.removal import remove_text

VARIANTS = ("cleaned", "telea", "none")
CHUNK = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for readings and cleaned frames")
    parser.add_argument("--stage", choices=("read", "clean", "train", "all"), default="all")
    parser.add_argument("--train", type=int, default=2400)
    parser.add_argument("--test", type=int, default=450)
    parser.add_argument("--size", type=int, default=160, help="side of the network's input, pixels")
    parser.add_argument("--around", action="store_true", help="show the network the label's place only, at half size")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--seed", type=int, default=11, help="of the phantom set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    config = PhantomConfig(
        n_frames=options.train + options.test, seed=options.seed, view_shares="balanced", label_independent=True
    )
    if options.stage in ("read", "all"):
        read(config, options.work, options.workers)
    if options.stage in ("clean", "all"):
        clean(config, options.work, options.size, options.workers, options.around)
    if options.stage in ("train", "all"):
        train_all(config, options)


def chunks(config: PhantomConfig) -> Iterator[range]:
    for start in range(0, config.n_frames, CHUNK):
        yield range(start, min(start + CHUNK, config.n_frames))


def kind_of(size: int, around: bool) -> str:
    return "clean-label" if around else f"clean{size}"


def file_of(config: PhantomConfig, work: Path, kind: str, chunk: range, suffix: str) -> Path:
    return work / f"{kind}-{digest(asdict(config))[:8]}-{chunk.start:05d}.{suffix}"


def read(config: PhantomConfig, work: Path, workers: int) -> None:
    """Stage one: words of every frame, as JSON."""
    missing = [chunk for chunk in chunks(config) if not file_of(config, work, "words", chunk, "json").exists()]
    frames = ((str(i), render_frame(config, i).screen) for chunk in missing for i in chunk)
    readings = read_frames(frames, partial(EasyOcrEngine), workers)
    for chunk in missing:
        started = time.monotonic()
        words = []
        for _ in chunk:
            reading = next(readings)
            if reading.words is None:
                raise BadInput(f"frame {reading.image_id}: {reading.error}")
            words.append([asdict(word) for word in reading.words])
        write(file_of(config, work, "words", chunk, "json"), json.dumps(words).encode())
        print(
            f"read {chunk.stop}/{config.n_frames}  {(time.monotonic() - started) / len(chunk):.2f} s a frame",
            flush=True,
        )


def clean(config: PhantomConfig, work: Path, size: int, workers: int, around: bool) -> None:
    """Stage two: every variant of every frame at the network's size, cut to the fan found in the picture."""
    for stop in ordered_map(partial(clean_chunk, config, work, size, around), chunks(config), max(1, workers)):
        print(f"cleaned {stop}/{config.n_frames}", flush=True)


def clean_chunk(config: PhantomConfig, work: Path, size: int, around: bool, chunk: range) -> int:
    """One chunk of stage two, unless it stands already; returns its last frame's number."""
    source, target = (
        file_of(config, work, "words", chunk, "json"),
        file_of(config, work, kind_of(size, around), chunk, "npz"),
    )
    if target.exists() or not source.exists():
        return chunk.stop
    rows = {variant: [] for variant in VARIANTS}
    labels = []
    for index, words in zip(chunk, json.loads(source.read_text()), strict=True):
        frame = render_frame(config, index)
        try:
            variants = clean_frame(frame, [Word(**word) for word in words], whole=around)
        except NoFan:  # the pipeline quarantines such a frame, so nobody could train on it
            continue
        for variant, image in variants.items():
            rows[variant].append(
                around_label(image, frame) if around else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            )
        labels.append(VIEWS.index(frame.label_view))
    partial_file = target.with_suffix(".tmp.npz")
    np.savez_compressed(partial_file, labels=labels, **rows)
    partial_file.rename(target)
    return chunk.stop


def around_label(image: np.ndarray, frame: PhantomFrame) -> np.ndarray:
    """(30, 120): the picture around the middle of the typed label, at half its size. What stood there, and how long it
    was, must be read from traces: an attacker who knows where to look."""
    height, width = 60, 240
    x0, y0, x1, y1 = frame.label_box
    padded = np.pad(image, ((height, height), (width, width)))
    top, left = (y0 + y1) // 2 + height // 2, (x0 + x1) // 2 + width // 2
    return cv2.resize(padded[top : top + height, left : left + width], (120, 30), interpolation=cv2.INTER_AREA)


def clean_frame(frame: PhantomFrame, words: list[Word], whole: bool = False) -> dict[str, np.ndarray]:
    """Variant → grey picture cut to the fan, or the whole frame."""
    fan = find_fan(frame.screen)
    x0, y0, x1, y1 = (0, 0, *frame.screen.shape[1::-1]) if whole else fan.box
    removed = remove_text(frame.screen, fan.mask, words, seed=frame.index)
    grey, _ = grey_and_chroma(frame.screen)
    telea = cv2.inpaint(grey, removed.ink.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    pictures = {"cleaned": removed.image, "telea": np.where(fan.mask, telea, 0), "none": np.where(fan.mask, grey, 0)}
    return {variant: image[y0:y1, x0:x1].astype(np.uint8) for variant, image in pictures.items()}


def write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.rename(path)


def train_all(config: PhantomConfig, options: argparse.Namespace) -> None:
    """Stage three: test accuracy per variant and seed, against two standard errors above chance."""
    files = [
        file_of(config, options.work, kind_of(options.size, options.around), chunk, "npz") for chunk in chunks(config)
    ]
    data = [np.load(file) for file in files if file.exists()]
    n_train = sum(len(part["labels"]) for part in data) - options.test
    if n_train < options.test:
        raise SystemExit(f"only {len(data)} of {len(files)} chunks are cleaned; run the earlier stages first")
    print(f"{n_train} frames to train on, {options.test} to test")
    labels = torch.from_numpy(np.concatenate([part["labels"] for part in data])).long()
    chance = 1 / len(VIEWS)
    error = math.sqrt(chance * (1 - chance) / options.test)
    print(
        f"chance {chance:.3f}, standard error {error:.4f}, must stay below {chance + 2 * error:.3f} (n {options.test})"
    )
    for variant in options.variants.split(","):
        images = torch.from_numpy(np.concatenate([part[variant] for part in data]))
        # The plan sorts frames by subject and view: a fixed shuffle makes both splits alike.
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        images, shuffled = images[order], labels[order]
        accuracies = []
        for seed in range(options.seeds):
            started = time.monotonic()
            accuracy = train(images, shuffled, n_train, options.epochs, seed)
            accuracies.append(accuracy)
            print(f"{variant} seed {seed}: {accuracy:.3f}  ({time.monotonic() - started:.0f} s)", flush=True)
        verdict = "within" if max(accuracies) <= chance + 2 * error else "above"
        print(f"{variant}: mean {np.mean(accuracies):.3f}, each {verdict} two standard errors of chance", flush=True)


def train(images: torch.Tensor, labels: torch.Tensor, n_train: int, epochs: int, seed: int, batch: int = 64) -> float:
    """Test accuracy of a ResNet18 from scratch; images uint8 (N, H, W), the first n_train of them to train on."""
    compute = Compute.detect(threads=1)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = resnet18(num_classes=len(VIEWS))
    # Type is a few pixels tall here: a smaller stem than the usual one.
    network.conv1 = nn.Conv2d(1, 64, 5, stride=2, padding=2, bias=False)
    network = compute.place(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * (n_train // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(epochs):
        network.train()
        for index in torch.randperm(n_train, generator=generator).split(batch):
            if len(index) < batch:
                continue
            reach = min(8, images.shape[1] // 10)
            shift = [int(v) for v in torch.randint(-reach, reach + 1, (2,), generator=generator)]
            pixels = torch.roll(images[index], shift, (1, 2))
            with compute.autocast():
                loss = nn.functional.cross_entropy(network(prepared(pixels, compute)), labels[index].to(compute.device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.inference_mode(), compute.autocast():
        predicted = torch.cat(
            [network(prepared(part, compute)).argmax(1).cpu() for part in images[n_train:].split(150)]
        )
    return float((predicted == labels[n_train:]).float().mean())


def prepared(pixels: torch.Tensor, compute: Compute) -> torch.Tensor:
    """uint8 (N, H, W) → float (N, 1, H, W), roughly standardised."""
    batch = pixels[:, None].to(compute.device).float().sub_(60).div_(50)
    return batch.contiguous(memory_format=torch.channels_last) if compute.channels_last else batch


if __name__ == "__main__":
    main()
