"""Renewing the encoder as the corpus grows: warm (from the encoder in service) against cold (from random weights).

The train split arrives in portions, by subject; after each, every warm arm trains on from its own last encoder and the
cold one from nothing. The test split is one and the same. What it gives decides whether `renew_model` starts warm: the
accuracy of k-NN on the encoder's vectors, FUSC's purity and NMI, seconds of training. Through the library, on phantoms.

    python benchmarks/renewal.py --frames 600 --epochs 30 --portions 0.6 0.8 1.0 --seeds 0 1 2
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from phantom_clustering import FUSC, SIMCLR, prepared

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.clustering.fusc import build_cluster_model, fit_fusc
from fusc_pipeline.clustering.predictions import predict_probabilities
from fusc_pipeline.evaluation.metrics import cluster_purity, normalized_mutual_information
from fusc_pipeline.phantom.config import plan
from fusc_pipeline.representation.augment import augmented_view, plain_view, strong_augment
from fusc_pipeline.representation.backbones import build_backbone, embed
from fusc_pipeline.representation.neighbors import knn_accuracy, nearest_neighbors
from fusc_pipeline.representation.simclr import SimclrResult, train_simclr

KNN = 20
COLD = "cold"


def main() -> None:
    options = arguments()
    compute, data, pixels, views, train = prepared(options)
    portions = grown(np.array(plan(data).subjects), train, options.portions)
    sizes = ", then ".join(str(len(rows)) for rows in portions)
    print(f"{sizes} frames to train on, {(~train).sum()} to test on, {len(VIEWS)} views", flush=True)

    arms = {COLD: 1.0} | {f"warm {share:g} E": share for share in options.shares}
    rows: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for seed in options.seeds:
        first = train_arm(pixels[portions[0]], options, 1.0, seed, None, compute)
        report(rows, ("first", 0), score(first, pixels, views, train, portions[0], seed, compute))
        served = dict.fromkeys(arms, first)
        for step, portion in enumerate(portions[1:], 1):
            for arm, share in arms.items():
                start = None if arm == COLD else served[arm][0]
                served[arm] = train_arm(pixels[portion], options, share, seed, start, compute)
                report(rows, (arm, step), score(served[arm], pixels, views, train, portion, seed, compute))
    print(f"\nmean ± sd over {len(options.seeds)} seeds; E is {options.epochs} epochs")
    print("| renewal | encoder | k-NN | CP | NMI | s |\n|--:|---|--:|--:|--:|--:|")
    for (arm, step), found in rows.items():
        mean, sd = np.mean(found, 0), np.std(found, 0)
        cells = " | ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(mean[:3], sd[:3], strict=True))
        print(f"| {step} | {arm} | {cells} | {mean[3]:.0f} |")


def grown(subjects: np.ndarray, train: np.ndarray, shares: list[float]) -> list[np.ndarray]:
    """Row numbers of the train split as it grows: the first subjects up to each share of them, in a fixed order."""
    names = np.unique(subjects[train])
    names = names[np.random.default_rng(0).permutation(len(names))]
    known = [names[: max(2, round(share * len(names)))] for share in shares]
    return [np.flatnonzero(train & np.isin(subjects, chosen)) for chosen in known]


def train_arm(pixels, options, share: float, seed: int, start, compute) -> tuple[dict, float]:
    """(weights, seconds) of SimCLR for `share` of the epochs, from the weights `start` or random ones."""
    weights = ""
    if start is not None:
        weights = str(options.cache / "start.pt")
        torch.save(start, weights)
    epochs = max(1, round(options.epochs * share))
    config = SIMCLR.changed(
        epochs=epochs, warmup_epochs=SIMCLR.warmup_epochs * share, lr=options.lr, seed=seed, weights=weights
    )
    began = time.perf_counter()
    result: SimclrResult = train_simclr(pixels, config, compute)
    return result.backbone, time.perf_counter() - began


def score(trained, pixels, views, train, rows, seed: int, compute) -> list[float]:
    """k-NN accuracy, FUSC's CP and NMI on the test split (%), and the seconds the encoder took."""
    backbone = build_backbone(seed=seed)
    backbone.load_state_dict(trained[0])
    vectors, test = embed(backbone, pixels, compute), np.flatnonzero(~train)
    ids = [str(row) for row in range(len(pixels))]
    known = [ids[row] for row in rows]
    near, similar = nearest_neighbors(vectors[rows], known, vectors[test], [ids[row] for row in test], KNN)
    knn = knn_accuracy(near, similar, views[rows], views[test])
    neighbours, _ = nearest_neighbors(vectors[rows], known, vectors[rows], known, KNN)
    config = FUSC.changed(seed=seed)
    model = build_cluster_model(config, backbone.out_dim, backbone, vectors[rows])
    strong = augmented_view(pixels[rows], strong_augment(90), compute)
    fitted = fit_fusc(model, strong, neighbours, config, compute)
    clusters = predict_probabilities(fitted.model, plain_view(pixels, compute), len(pixels), compute).argmax(1)
    figures = [f(views[test], clusters[test]) for f in (cluster_purity, normalized_mutual_information)]
    return [100 * knn, *(100 * figure for figure in figures), trained[1]]


def report(rows: dict, key: tuple[str, int], found: list[float]) -> None:
    rows[key].append(found)
    print(
        "renewal {} {:12} k-NN {:5.1f}  CP {:5.1f}  NMI {:5.1f}  {:5.0f} s".format(key[1], key[0], *found), flush=True
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--phantom-seed", type=int, default=101, help="0 is the demo's")
    parser.add_argument("--size", type=int, default=64, help="side of the images, pixels")
    parser.add_argument("--epochs", type=int, default=30, help="E, of a cold training")
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25], help="of E, for the warm arms")
    parser.add_argument("--portions", type=float, nargs="+", default=[0.6, 0.8, 1.0], help="of the train subjects")
    parser.add_argument("--lr", type=float, default=SIMCLR.lr)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/renewal"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
