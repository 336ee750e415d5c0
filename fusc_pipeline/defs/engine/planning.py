"""What an asset would do, without doing it: its own code is run up to the decision by fingerprint, and no further.

So `fusc status` and the sensors say fresh or stale by the very rule by which a run would skip or work. No torch.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from fusc_pipeline.defs.engine.parquet_io import TableHandle
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.store.store import Recipe


@dataclass(frozen=True)
class Plan:
    """What an asset would be made from: its recipe, and the data version of each of its inputs; and the files that what
    is made must hold."""

    recipe: Recipe
    inputs: Mapping[str, str]
    holds: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        return self.recipe.fingerprint(self.inputs)


class Planned(BaseException):
    """Ends an asset's code at its decision. No Exception: nothing on the way may take it for a failure."""

    def __init__(self, plan: Plan):
        super().__init__("planned")
        self.plan = plan


@dataclass(frozen=True)
class PlanContext:
    """Stands in for Dagster's context while an asset's code is run up to its decision."""

    asset_key: dg.AssetKey
    assets_def: dg.AssetsDefinition
    partition: str | None

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(__name__)

    @property
    def partition_key(self) -> str:
        if self.partition is None:
            raise ValueError(f"{self.asset_key.to_user_string()} is made per batch; name the batch")
        return self.partition


def plan_asset(
    asset: dg.AssetsDefinition,
    store: StoreResource,
    partition: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Plan:
    """What the asset would be made from now, with these config fields (the others at their defaults).

    Raises FuscError or dg.Failure where it could not be made: an input is missing or was refused, a setting is wrong.
    """
    function = asset.op.compute_fn.decorated_fn
    kinds = dict(function.__annotations__)
    kinds.pop("return", None)
    arguments: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name == "context":
            arguments[name] = PlanContext(asset.key, asset, partition)
        elif name == "config":
            arguments[name] = kind(**(config or {}))
        elif kind is StoreResource:
            arguments[name] = store
        elif kind is TableHandle:
            arguments[name] = TableHandle(store.get(), name, partition)
    try:
        function(**arguments)
    except Planned as stopped:
        return stopped.plan
    raise TypeError(f"{asset.key.to_user_string()} ended without a decision: it does not use `materialize`")


def refusal_words(refusal: BaseException) -> str:
    """What `plan_asset` raised, in words: a step's failure tells them as its description."""
    return (refusal.description if isinstance(refusal, dg.Failure) else None) or str(refusal)
