"""Clustering: the one registry of the models of the paper's tables, an asset each.

Each asset fits every K of its list with every seed, keeps one checkpoint per fit, and gives one table of assignments.
A further row is a file that makes a `Row`, and a line here.
"""

from fusc_pipeline.defs.clustering import deepmcat, fusc, kmeans, selflabel, supervised
from fusc_pipeline.defs.clustering.fits import Row

# The rows of the paper's Table 1, in its order.
_ROWS = (
    deepmcat.ROW,
    kmeans.row("simclr"),
    kmeans.row("dino"),
    fusc.row("simclr"),
    selflabel.row("simclr"),
    fusc.row("dino"),
    selflabel.row("dino"),
    supervised.ROW,
)
MODELS: dict[str, Row] = {row.name: row for row in _ROWS}
ASSETS = [row.asset for row in _ROWS]
