"""What an asset would do, without doing it: it is asked for its work, as a run asks it, and no further.

So `fusc status` and the sensors say fresh or stale by the very rule by which a run would skip or work. No torch.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from fusc_pipeline.defs.engine.materialize import plan_of
from fusc_pipeline.defs.engine.work import Plan, Request, stored
from fusc_pipeline.store.store import Store


def plan_asset(asset: str, store: Store, partition: str | None = None, config: Mapping[str, Any] | None = None) -> Plan:
    """What the asset would be made from now, with these config fields (the others at their defaults).

    Raises FuscError or dg.Failure where it could not be made: an input is missing or was refused, a setting is wrong.
    """
    one = stored(asset)
    batch = partition if one.per_batch else None
    settings = one.config_class(**(config or {}))
    return plan_of(one, one.work(Request(asset, batch), settings, store), batch, settings, store)


def refusal_words(refusal: BaseException) -> str:
    """What `plan_asset` raised, in words: a step's failure tells them as its description."""
    return (refusal.description if isinstance(refusal, dg.Failure) else None) or str(refusal)
