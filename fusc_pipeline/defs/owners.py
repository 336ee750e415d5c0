"""Whose each asset is, by its group: shown in the UI, where one can list a team's assets."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

OWNERS = {
    "ingestion": ["team:data-platform"],
    "text": ["team:data-platform"],
    "dataset": ["team:data-platform"],
    "representation": ["team:ml-research"],
    "clustering": ["team:ml-research"],
    "evaluation": ["team:sonography", "team:ml-research"],
    "service": ["team:sonography", "team:data-platform"],
}


def owned(assets: Iterable[Any]) -> list[Any]:
    """The assets, each with the owners of its group; raises KeyError for a group that nobody owns."""
    return list(dg.map_asset_specs(lambda spec: spec.replace_attributes(owners=OWNERS[spec.group_name or ""]), assets))
