"""What an asset answers when it is asked: the work it would do, as far as that is known before any of it is done.

`stored_asset` declares an asset by a function that gives its `Work`; a run does it (`materialize`), a plan only reads
what it would be made from (`planning`). Such a function may read the store and refuse; it makes nothing.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from fusc_pipeline.defs.engine.config_fields import AssetConfig
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.records import Recipe
from fusc_pipeline.store.store import Draft, Store


@dataclass(frozen=True)
class Request:
    """What is asked of an asset: for which batch, and by which step of a run; step None: it is only planned."""

    asset: str
    batch: str | None
    step: dg.AssetExecutionContext | None = None

    @property
    def partition_key(self) -> str:
        """The batch. Raises ValueError where none was named."""
        if self.batch is None:
            raise ValueError(f"{self.asset} is made per batch; name the batch")
        return self.batch

    @property
    def planned(self) -> bool:
        """Whether nothing will be made."""
        return self.step is None

    @property
    def run(self) -> dg.AssetExecutionContext:
        """Dagster's context of the step, for what happens while the work is done. Raises RuntimeError in a plan."""
        if self.step is None:
            raise RuntimeError(f"{self.asset} is only planned; nothing runs")
        return self.step

    @property
    def log(self) -> Any:
        """The run's log; a plan's words go to Python's logging."""
        return self.step.log if self.step is not None else logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What an asset would do.

    produce: writes files and `draft.metadata`. upstream: names of the assets whose data versions are inputs (of this
    batch where they have one); None: those it was declared to depend on. inputs: further data versions by name. extra:
    what else decides the result (engine, weights). holds: the files without which the output is no whole one, as far
    as they are known beforehand; a function where that takes the inputs. model, incremental: see `Store.write`. force:
    make it again though an output with this fingerprint stands.
    """

    produce: Callable[[Draft], None]
    upstream: Sequence[str] | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    holds: Callable[[], Sequence[str]] | Sequence[str] = (TABLE,)
    model: bool = False
    incremental: bool = False
    force: bool = False


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


@dataclass(frozen=True)
class Stored:
    """An asset as `stored_asset` declared it.

    work: (request, config, store) → Work. around: held while a run decides and works. after: called by a run with the
    output in use, also when there was nothing to do.
    """

    name: str
    work: Callable[[Request, Any, Store], Work]
    config_class: type[AssetConfig]
    deps: Sequence[str]
    per_batch: bool
    code_version: str
    around: Callable[[Request, Store], AbstractContextManager[Any]] | None = None
    after: Callable[[Request, Store], None] | None = None


_DECLARED: dict[str, Stored] = {}


def declare(stored: Stored) -> None:
    """Remember it by its name."""
    _DECLARED[stored.name] = stored


def stored(asset: str) -> Stored:
    """The asset of this name. Raises KeyError for one that no module loaded so far has declared."""
    return _DECLARED[asset]


def is_per_batch(asset: str) -> bool:
    """Whether it is made per scan batch, not once for the whole corpus. Raises KeyError as `stored` does.

    Only these assets see delivered files or pixels that were not cleaned, so their errors are told without their words.
    """
    return stored(asset).per_batch


def per_batch_assets() -> frozenset[str]:
    """Names of the assets made per scan batch, of those that were declared so far."""
    return frozenset(name for name, one in _DECLARED.items() if one.per_batch)
