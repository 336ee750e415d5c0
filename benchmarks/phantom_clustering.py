"""SimCLR → k-means, FUSC, FUSC* and the supervised line on phantom frames, through the library, without the pipeline.

What the demo's settings were chosen with: purity and seconds of every stage, on frames that never had text on them.
Settings are chosen on phantom sets with other seeds than the demo's (0); `--phantom-seed 0` is for final figures only.

    python benchmarks/phantom_clustering.py --phantom-seed 101 --simclr epochs=40 --fusc epochs=10 n_heads=4
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.clustering.configs import FuscConfig, SelfLabelConfig
from fusc_pipeline.clustering.fusc import build_cluster_model, fit_fusc
from fusc_pipeline.clustering.kmeans import KMeansClusterer
from fusc_pipeline.clustering.predictions import predict_probabilities
from fusc_pipeline.clustering.selflabel import self_label
from fusc_pipeline.evaluation.metrics import cluster_purity, macro_recall, normalized_mutual_information
from fusc_pipeline.evaluation.splitting import split_by_subject
from fusc_pipeline.phantom import PhantomConfig, render_frame
from fusc_pipeline.representation.augment import augmented_view, plain_view, strong_augment
from fusc_pipeline.representation.backbones import build_backbone, embed
from fusc_pipeline.representation.configs import SimclrConfig, SupervisedConfig
from fusc_pipeline.representation.neighbors import nearest_neighbors, neighbor_purity
from fusc_pipeline.representation.pixels import resized
from fusc_pipeline.representation.simclr import train_simclr
from fusc_pipeline.representation.supervised import train_supervised

SIMCLR = SimclrConfig(
    epochs=40, batch_size=64, lr=1e-3, optimizer="adamw", weight_decay=1e-2, warmup_epochs=4, rotation_degrees=90
)
FUSC = FuscConfig(epochs=10, batch_size=64, lr=5e-5, head_lr=1e-3, entropy_weight=2.0, init="kmeans")
SELF_LABEL = SelfLabelConfig(epochs=5, batch_size=128)
SUPERVISED = SupervisedConfig(epochs=20, batch_size=64, rotation_degrees=90)


def phantoms(config: PhantomConfig, size: int, cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N, size, size) of the fan's box, view numbers (N,), and whether a frame is in the train split (N,)."""
    path = cache / f"phantoms-{config.n_frames}-{config.seed}-{size}.npz"
    if not path.exists():
        pixels, truth = np.zeros((config.n_frames, size, size), np.uint8), []
        for i in range(config.n_frames):
            frame = render_frame(config, i)
            ys, xs = np.flatnonzero(frame.fan.any(1)), np.flatnonzero(frame.fan.any(0))
            pixels[i] = resized(frame.anatomy[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1], size)
            truth.append((frame.subject, frame.view))
        subjects, views = zip(*truth, strict=True)
        split = split_by_subject(subjects, views)
        np.savez(path, pixels=pixels, views=[VIEWS.index(v) for v in views], train=np.array(split) == "train")
    found = np.load(path)
    return found["pixels"], found["views"], found["train"]


def prepared(options: argparse.Namespace) -> tuple[Compute, PhantomConfig, np.ndarray, np.ndarray, np.ndarray]:
    """The device with its threads set, and the phantoms of the options with what `phantoms` gives of them."""
    compute = Compute.detect(threads=options.threads)
    compute.apply_threads()
    cv2.setNumThreads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    data = PhantomConfig(n_frames=options.frames, seed=options.phantom_seed)
    return compute, data, *phantoms(data, options.size, options.cache)


class Scores:
    """Prints one line a fit, and mean ± sd of each model at the end."""

    def __init__(self, views: np.ndarray, train: np.ndarray):
        self.views, self.train, self.rows = views, train, {}

    def add(self, model: str, clusters: np.ndarray, seconds: float, note: str = "") -> None:
        row = []
        for part in (self.train, ~self.train):
            row += [
                score(self.views[part], clusters[part]) * 100
                for score in (cluster_purity, normalized_mutual_information)
            ]
        row.append(macro_recall(self.views[~self.train], clusters[~self.train]) * 100)
        self.rows.setdefault(model, []).append(row)
        figures = "train CP {:5.1f} NMI {:5.1f}  test CP {:5.1f} NMI {:5.1f} macro recall {:5.1f}".format(*row)
        print(f"{model:12} {figures}  {seconds:6.1f} s  {note}", flush=True)

    def summary(self) -> None:
        for model, rows in self.rows.items():
            mean, sd = np.mean(rows, 0), np.std(rows, 0)
            print(
                f"{model:12} test CP {mean[2]:.1f} ± {sd[2]:.1f}  NMI {mean[3]:.1f} ± {sd[3]:.1f}  ({len(rows)} fits)"
            )


def main() -> None:
    options = arguments()
    compute, _, pixels, views, train = prepared(options)
    scores, rows = Scores(views, train), np.flatnonzero(train)
    majority = np.bincount(views[~train]).max() / (~train).sum()
    print(f"{len(pixels)} frames, {len(rows)} to train on, largest view of the test split {majority:.0%}", flush=True)

    simclr = SIMCLR.changed(**options.simclr)
    print(simclr, flush=True)
    weights = (
        options.cache / f"simclr-{digest([options.frames, options.phantom_seed, options.size, str(simclr)])[:16]}.pt"
    )
    backbone = build_backbone(seed=simclr.seed)
    if not weights.exists():
        started = time.perf_counter(), time.process_time()
        result = train_simclr(pixels[rows], simclr, compute)
        last = result.history[-1]
        print(
            f"simclr {time.perf_counter() - started[0]:.0f} s ({time.process_time() - started[1]:.0f} s of CPU), "
            f"loss {last['loss']:.3f}, effective rank {last['effective_rank']:.0f}"
        )
        torch.save(result.backbone, weights)
    backbone.load_state_dict(torch.load(weights, weights_only=True))

    vectors = embed(backbone, pixels, compute)
    ids = [str(row) for row in rows]
    neighbours, _ = nearest_neighbors(vectors[rows], ids, vectors[rows], ids, options.neighbors)
    purities = {k: neighbor_purity(neighbours[:, :k], views[rows], views[rows]) for k in (1, 5, options.neighbors)}
    print("purity of the nearest", {k: round(100 * value, 1) for k, value in purities.items()})

    strong = augmented_view(pixels[rows], strong_augment(options.rotation), compute)
    plain, plain_train = plain_view(pixels, compute), plain_view(pixels[rows], compute)
    fusc_base, label_base = FUSC.changed(**options.fusc), SELF_LABEL.changed(**options.selflabel)
    print(fusc_base, label_base, sep="\n", flush=True)
    for seed in options.seeds:
        started = time.perf_counter()
        kmeans = KMeansClusterer(fusc_base.n_clusters, seed=seed).fit(vectors[rows])
        scores.add("k-means", kmeans.predict(vectors), time.perf_counter() - started)
        if options.only == "kmeans":
            continue

        started, config = time.perf_counter(), fusc_base.changed(seed=seed)
        backbone.load_state_dict(torch.load(weights, weights_only=True))
        network = None if options.head_only else backbone
        model = build_cluster_model(config, backbone.out_dim, network, vectors[rows])
        cached = torch.from_numpy(vectors)
        inputs = (lambda indices, v=cached: v[indices]) if options.head_only else plain
        view = (lambda indices, _, v=cached[rows]: v[indices]) if options.head_only else strong
        fitted = fit_fusc(model, view, neighbours, config, compute)
        found = predict_probabilities(fitted.model, inputs, len(pixels), compute)
        last = fitted.history[-1]
        sure = (found.max(1) > 0.99).mean()
        note = f"consistency {last['consistency']:.2f} entropy {last['entropy']:.2f} confident {sure:.0%}"
        scores.add("FUSC", found.argmax(1), time.perf_counter() - started, note)

        if not options.head_only and options.only != "fusc":
            started = time.perf_counter()
            config = label_base.changed(seed=seed)
            labelled = self_label(fitted.model, plain_train, strong, len(rows), config, compute)
            found = predict_probabilities(labelled.model, plain, len(pixels), compute)
            note = f"{labelled.good_epochs} good epochs, {labelled.stopped_because}"
            scores.add("FUSC*", found.argmax(1), time.perf_counter() - started, note)

    if options.only is None:
        started = time.perf_counter()
        config = SUPERVISED.changed(**options.supervised)
        model = train_supervised(pixels[rows], views[rows], config, compute, n_classes=len(VIEWS)).model
        found = predict_probabilities(model, plain_view(pixels, compute), len(pixels), compute).argmax(1)
        accuracy = (found == views)[~train].mean()
        scores.add("supervised", found, time.perf_counter() - started, f"test accuracy {accuracy:.1%}")
    scores.summary()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=640)
    parser.add_argument("--phantom-seed", type=int, default=101, help="0 is the demo's")
    parser.add_argument("--size", type=int, default=64, help="side of the images, pixels")
    parser.add_argument("--neighbors", type=int, default=20)
    parser.add_argument("--rotation", type=float, default=90, help="of FUSC's and self-labelling's views, degrees")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/phantom_clustering"))
    parser.add_argument("--head-only", action="store_true", help="FUSC on cached embeddings")
    parser.add_argument("--only", choices=("kmeans", "fusc", "selflabel"), help="stop after this stage")
    for stage in ("simclr", "fusc", "selflabel", "supervised"):
        parser.add_argument(f"--{stage}", nargs="*", default=[], metavar="name=value", help=f"settings of {stage}")
    options = parser.parse_args()
    for stage in ("simclr", "fusc", "selflabel", "supervised"):
        pairs = dict(pair.split("=", 1) for pair in getattr(options, stage))
        setattr(options, stage, {name: _value(text) for name, text in pairs.items()})
    return options


def _value(text: str) -> object:
    """A number or boolean as JSON writes it, or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main()
