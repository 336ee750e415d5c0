"""Small made-up corpora, fits and pictures for the tests of the evaluation."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from fusc_pipeline.base import schemas
from fusc_pipeline.base.views import VIEWS


def corpus(n: int = 60, n_views: int = 4, labelled: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """n images of n/5 subjects, every fifth subject in the test split; `labelled` is the share with a view."""
    rng = np.random.default_rng(seed)
    views = np.array(VIEWS[:n_views], dtype=object)[rng.integers(0, n_views, n)]
    views[rng.random(n) >= labelled] = None
    subjects = np.arange(n) // 5
    return pd.DataFrame(
        {
            "image_id": [f"{i:064x}" for i in range(n)],
            "scan_batch": "first",
            "subject_key": [f"subject{s}" for s in subjects],
            "machine": "GE Voluson E8",
            "view": views,
            "split": np.where(subjects % 5 == 0, "test", "train"),
        }
    )


def fit(corpus: pd.DataFrame, n_clusters: int = 5, seed: int = 0, noise: float = 0.3) -> pd.DataFrame:
    """Rows of `schemas.CLUSTERS`: clusters that follow the views, but for a share of `noise`."""
    rng = np.random.default_rng(seed)
    place = {view: i for i, view in enumerate(VIEWS)}
    follow = np.array([place.get(view, i) for i, view in enumerate(corpus["view"])]) % n_clusters
    clusters = np.where(rng.random(len(corpus)) < noise, rng.integers(0, n_clusters, len(corpus)), follow)
    return pd.DataFrame(
        {
            "image_id": corpus["image_id"],
            "split": corpus["split"],
            "n_clusters": n_clusters,
            "seed": seed,
            "cluster": clusters,
            "confidence": rng.random(len(corpus)),
        }
    )


def clusters(corpus: pd.DataFrame, n_clusters=(5,), seeds=(0, 1, 2), noise: float = 0.3) -> pa.Table:
    """A model's table of `schemas.CLUSTERS`, checked against the schema."""
    rows = pd.concat([fit(corpus, k, seed, noise) for k in n_clusters for seed in seeds])
    return pa.Table.from_pandas(rows, schema=schemas.CLUSTERS, preserve_index=False)


def png(width: int = 64, height: int = 48, level: int = 90) -> bytes:
    """A grey PNG with a bright block."""
    pixels = np.full((height, width), level, np.uint8)
    pixels[5:20, 5:30] = 200
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
