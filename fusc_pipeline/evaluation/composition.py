"""What each cluster is made of (Table 4 of the paper): its three commonest views with their shares, and its size."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from fusc_pipeline.base import schemas
from fusc_pipeline.evaluation.assignments import fits, labelled_clusters
from fusc_pipeline.evaluation.metrics import has_label, in_view_order

TOP = 3


@dataclass(frozen=True)
class ClusterMakeup:
    """One filled cluster: `size` images, `labelled` of them with a view, `views` (view, count) by falling count."""

    cluster: int
    size: int
    labelled: int
    views: tuple[tuple[str, int], ...]

    @property
    def majority(self) -> str | None:
        """The commonest view, None without labels; of equally common ones the first in `views.VIEWS`."""
        return self.views[0][0] if self.views else None

    @property
    def purity(self) -> float | None:
        """Share of the labelled images that show the commonest view, 0 to 1; None without labels."""
        return self.views[0][1] / self.labelled if self.views else None


def makeups(fit: pd.DataFrame) -> list[ClusterMakeup]:
    """The filled clusters of one fit's rows (columns `cluster`, `view`), sorted by purity.

    Ties are settled so that equal tables give equal rows: clusters of equal purity by falling number of labelled
    images, then by falling size, then by cluster id; clusters without a label come last. Views of equal count within
    a cluster come in the order of `views.VIEWS`.
    """
    found = []
    for cluster, rows in fit.groupby("cluster"):
        labels = rows["view"].to_numpy(dtype=object)[has_label(rows["view"].tolist())]
        counts = Counter(labels.tolist())
        # sorted() is stable: equal counts stay in view order
        views = sorted(((view, counts[view]) for view in in_view_order(list(counts))), key=lambda pair: -pair[1])
        found.append(ClusterMakeup(int(cluster), len(rows), len(labels), tuple(views)))
    return sorted(found, key=lambda m: (-(m.purity if m.purity is not None else -1), -m.labelled, -m.size, m.cluster))


def composition_table(assignments: Mapping[str, pa.Table | pd.DataFrame], corpus: pa.Table | pd.DataFrame) -> pa.Table:
    """Table 4 for every model, K and seed, on the test split, as a table of `schemas.COMPOSITION`.

    Up to three rows per cluster (rank 1 to 3), clusters sorted by purity (ties: see `makeups`). A cluster without a
    labelled image has no view to show and so no row. Raises BadInput when a model was not made from this corpus.
    """
    rows = []
    for model, clusters in assignments.items():
        for n_clusters, seed, split, fit in fits(labelled_clusters(model, clusters, corpus)):
            if split != "test":
                continue
            for makeup in makeups(fit):
                for rank, (view, n) in enumerate(makeup.views[:TOP], start=1):
                    rows.append(
                        {
                            "model": model,
                            "n_clusters": n_clusters,
                            "seed": seed,
                            "cluster": makeup.cluster,
                            "size": makeup.size,
                            "labelled": makeup.labelled,
                            "rank": rank,
                            "view": view,
                            "share": n / makeup.labelled,
                        }
                    )
    return pa.Table.from_pylist(rows, schema=schemas.COMPOSITION)
