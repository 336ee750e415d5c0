"""Joining a model's clusters with the corpus by image, and refusing the two when they do not belong together."""

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from fusc_pipeline.base.errors import BadInput


def as_frame(table: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """The table as a pandas DataFrame."""
    return table.to_pandas() if isinstance(table, pa.Table) else table


def labelled_clusters(model: str, clusters: pa.Table | pd.DataFrame, corpus: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """A model's `schemas.CLUSTERS` rows with two columns of `schemas.CORPUS`: `view` (str or None) and `subject_key`.

    Raises BadInput when the model has images the corpus does not, misses images of a split it covers, gives an image
    another split, or has an image twice in one fit: then it was not made from this corpus.
    """
    clusters, corpus = as_frame(clusters), as_frame(corpus)
    again = f"materialise {model} again from the present corpus"
    joined = clusters.merge(
        corpus[["image_id", "split", "view", "subject_key"]], on="image_id", how="left", suffixes=("", "_corpus")
    )
    if stray := int(joined["split_corpus"].isna().sum()):
        raise BadInput(f"{model}: {stray} rows are of images the corpus does not hold; {again}")
    if moved := int((joined["split"] != joined["split_corpus"]).sum()):
        raise BadInput(f"{model}: {moved} rows have another split than the corpus gives them; {again}")
    wanted = corpus["split"].value_counts()
    for (n_clusters, seed, split), fit in joined.groupby(["n_clusters", "seed", "split"]):
        if len(fit) != fit["image_id"].nunique() or len(fit) != wanted[split]:
            raise BadInput(
                f"{model} (K {n_clusters}, seed {seed}): {len(fit)} rows of {fit['image_id'].nunique()} images for the "
                f"{wanted[split]} images of the {split} split; {again}"
            )
    joined["view"] = joined["view"].astype(object).where(joined["view"].notna(), None)
    return joined.drop(columns="split_corpus")


def fits(joined: pd.DataFrame) -> Iterator[tuple[int, int, str, pd.DataFrame]]:
    """(K, seed, split, rows) of every fit in a table of `labelled_clusters`, in that order, train before test."""
    for (n_clusters, seed), fit in joined.groupby(["n_clusters", "seed"], sort=True):
        for split in ("train", "test"):
            rows = fit[fit["split"] == split]
            if len(rows):
                yield int(n_clusters), int(seed), split, rows
