"""Calipers drawn over tissue (crosses, digits, dotted lines and ellipses): what of them is found, and what it costs.

    OMP_NUM_THREADS=1 python benchmarks/calipers.py --frames 60 --seed 9101 [--sheet DIR]
    OMP_NUM_THREADS=1 python benchmarks/calipers.py --frames 60 --seed 9101 --plain       # no calipers: damage alone
    … --keep FILE, then --kept FILE with another version of the package on the path

Each phantom screen is cleaned as delivered and after JPEG of quality 88, with no word read: calipers have no words.
Printed: share of the caliper pixels that are repainted; frames with less than 99 % of theirs; share of the fan's pixels
that are repainted though nothing was drawn there (two pixels around ink do not count, decoys neither); ms a frame.
"""

import argparse
import io
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fusc_pipeline.text.removal import remove_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--kept", type=Path)
    arguments = parser.parse_args()
    frames = _kept(arguments.kept) if arguments.kept else _rendered(arguments)
    if arguments.keep:
        np.savez_compressed(arguments.keep, *(part for frame in frames for part in frame))
        return
    for way in ("as delivered", "JPEG 88"):
        shares, damage, seconds, cells = [], [], 0.0, []
        for number, (screen, fan, ink, calipers) in enumerate(frames):
            pixels = _through_jpeg(screen) if way != "as delivered" else screen
            start = time.process_time()
            removed = remove_text(pixels, fan, (), seed=number)
            seconds += time.process_time() - start
            if calipers.any():
                shares.append(removed.ink[calipers].mean())
            near = cv2.dilate(ink.astype(np.uint8), np.ones((11, 11), np.uint8)) > 0
            damage.append((removed.ink & fan & ~near).sum() / fan.sum())
            cells.append((pixels, removed.image))
        found = np.array(shares) if shares else np.zeros(0)
        print(
            f"{way}: {len(frames)} frames; caliper ink found {100 * found.mean() if len(found) else 0:.2f} %, frames "
            f"under 99 %: {(found < 0.99).sum()}, worst {100 * found.min() if len(found) else 0:.1f} %; fan repainted "
            f"without cause {100 * np.mean(damage):.3f} % (worst {100 * np.max(damage):.2f}); "
            f"{1e3 * seconds / len(frames):.0f} ms"
        )
        if arguments.sheet:
            _write_sheet(
                arguments.sheet / f"{way.split()[0]}.png", cells, np.argsort(found)[:8] if len(found) else range(8)
            )


def _rendered(arguments: argparse.Namespace) -> list[tuple]:
    from fusc_pipeline.phantom.config import PhantomConfig
    from fusc_pipeline.phantom.render import render_frame

    config = PhantomConfig(
        n_frames=arguments.frames, seed=arguments.seed, p_calipers=0.0 if arguments.plain else 1.0, cine_share=0
    )
    frames = [render_frame(config, index) for index in range(arguments.frames)]
    return [(f.screen, f.fan, f.ink, f.calipers if f.calipers is not None else np.zeros_like(f.ink)) for f in frames]


def _kept(path: Path) -> list[tuple]:
    with np.load(path) as kept:
        parts = [kept[name] for name in kept.files]
    return [tuple(parts[at : at + 4]) for at in range(0, len(parts), 4)]


def _through_jpeg(pixels: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=88)
    return np.asarray(Image.open(stream))


def _write_sheet(path: Path, cells: list[tuple], chosen) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in chosen:
        before, after = cells[int(number)]
        row = np.hstack([before, np.repeat(after[..., None], 3, 2)])
        rows.append(cv2.resize(row, (1600, 600), interpolation=cv2.INTER_AREA))
    Image.fromarray(np.vstack(rows)).save(path)


if __name__ == "__main__":
    main()
