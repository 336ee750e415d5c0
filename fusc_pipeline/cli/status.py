"""What stands, what would be made again and why: `fusc status`, by the very rule by which a run skips or works.

Nothing is made or read but records and listings, and no torch is loaded. The words are `reasons`' part, printing is
`cli.upkeep`'s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import ValidationError

from fusc_pipeline.base.errors import BadInput, FuscError
from fusc_pipeline.base.words import named
from fusc_pipeline.cli.reasons import reasons
from fusc_pipeline.defs.engine.planning import plan_asset, refusal_words
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.engine.work import Plan, is_per_batch, stored
from fusc_pipeline.operations.arrivals import MARKER
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.store.store import Recipe, Record, Store
from fusc_pipeline.store.whole import gone

# fresh: a run would do nothing. stale: a run makes it again. waiting: what it is made from comes first. missing: never
# made, and a run makes it. blocked: a run could not make it. failed: it stands and failed a blocking check. not made:
# never made, and no run is asked to.
FRESH, STALE, WAITING, MISSING = "fresh", "stale", "waiting", "missing"
BLOCKED, FAILED, NOT_MADE = "blocked", "failed", "not made"
STATES = (FRESH, STALE, WAITING, MISSING, BLOCKED, FAILED, NOT_MADE)
AS_MADE, DEFAULTS = "the settings it was made with", "the settings' defaults"
EXTERNAL_ONLY = "external_purity"


@dataclass(frozen=True)
class State:
    """Where one output stands.

    why: sentences; empty when fresh. by: whose settings decided. warnings: checks of it that did not pass but block
    nothing.
    """

    asset: str
    batch: str | None
    state: str
    why: tuple[str, ...] = ()
    by: str = ""
    warnings: tuple[str, ...] = ()
    plan: Plan | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"{self.asset} of batch {self.batch}" if self.batch else self.asset


@dataclass(frozen=True)
class Settings:
    """The settings that a run would use: a preset's, or for each output those it was made with."""

    preset: str | None = None
    ops: Mapping[str, Any] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    @classmethod
    def of(cls, preset: str | None) -> "Settings":
        """Those of a preset; raises BadSetting for an unknown one."""
        from fusc_pipeline.operations.presets import left_out, load_preset

        if preset is None:
            return cls()
        return cls(preset, load_preset(preset).get("ops") or {}, frozenset(left_out(preset)))


def batches_of(store: Store, inbox: Inbox) -> list[str]:
    """Every batch that was registered here or of which something stands, sorted."""
    return sorted({*inbox.registered(), *(batch for _, batch in store.slots() if batch)})


def status(definitions: dg.Definitions, resource: StoreResource, settings: Settings = Settings()) -> list[State]:
    """The state of every asset for every batch, upstream first."""
    return list(_Look(definitions, resource, settings).all())


class _Look:
    def __init__(self, definitions: dg.Definitions, resource: StoreResource, settings: Settings):
        self.settings = settings
        self.store, self.inbox = resource.get(), resource.inbox()
        graph = definitions.resolve_asset_graph()
        order = [key for key in graph.toposorted_asset_keys if key in graph.materializable_asset_keys]
        self.assets = [key.to_user_string() for key in order]
        self.parents = {
            key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
            for key in order
        }
        self.batches = batches_of(self.store, self.inbox)
        self.external = {batch for batch in self.batches if self.inbox.is_external(batch)}
        self.found: dict[tuple[str, str | None], State] = {}
        self.records: dict[tuple[str, str | None], Record | None] = {}

    def all(self) -> Iterator[State]:
        for asset in self.assets:
            for batch in self.batches if is_per_batch(asset) else [None]:
                state = self._judge(asset, batch)
                self.found[asset, batch] = state
                yield state

    def _record(self, asset: str, batch: str | None) -> Record | None:
        if (asset, batch) not in self.records:
            self.records[asset, batch] = self.store.record(asset, batch)
        return self.records[asset, batch]

    def _judge(self, asset: str, batch: str | None) -> State:
        record = self._record(asset, batch)
        if record is None and self.store.is_lost(asset, batch):
            return State(asset, batch, STALE, ("which version is in use, or its record, cannot be read",))
        if record is None and (why := self._unasked(asset, batch)):
            return State(asset, batch, NOT_MADE, (why,))
        if after := self._comes_first(asset, batch):
            return State(asset, batch, WAITING if record else MISSING, (after,))
        by = f"preset {self.settings.preset}" if self.settings.preset else AS_MADE if record else DEFAULTS
        if record is not None and batch is not None and self._was_deleted("scans", batch) and asset != "scans":
            return State(asset, batch, FRESH, ("scans was deleted, so this is what stands, not what a run would do",))
        try:
            plan = self._plan(asset, batch, record)
        except (FuscError, dg.Failure, ValidationError) as refusal:
            return State(asset, batch, BLOCKED, (_words(refusal),), by)
        if record is None:
            return State(asset, batch, MISSING, ("it was never made",), by, plan=plan)
        return self._compare(asset, batch, record, plan, by)

    def _compare(self, asset: str, batch: str | None, record: Record, plan: Plan, by: str) -> State:
        verdicts = self.store.verdicts(asset, batch).values()
        warned = tuple(f"{v.check}: {v.description}" for v in verdicts if not v.passed and not v.blocks)
        if record.fingerprint != plan.fingerprint:
            why = reasons(record, plan, self._delivered(asset, batch))
            if (self.store.place(record).parent / plan.fingerprint[:16]).is_dir():
                why.append("an earlier version fits, so a run takes that one up again")
            if asset in self.settings.left_out:
                why.append(f"the preset {self.settings.preset} leaves it out, so no run makes it again")
            return State(asset, batch, STALE, tuple(why), by, warned, plan)
        if names := self.store.lacking(record, plan.holds):
            return State(asset, batch, STALE, (gone(names),), by, warned, plan)
        if refusal := self.store.refusal(asset, batch):
            return State(asset, batch, FAILED, (refusal, "nothing is built on it"), by, warned, plan)
        return State(asset, batch, FRESH, (), by, warned, plan)

    def _plan(self, asset: str, batch: str | None, record: Record | None) -> Plan:
        if self.settings.preset:
            config = (self.settings.ops.get(asset) or {}).get("config") or {}
            return plan_asset(asset, self.store, batch, config)
        if record is None:
            return plan_asset(asset, self.store, batch)
        known = stored(asset).config_class.model_fields
        config = {name: value for name, value in record.config.items() if name in known}
        if not (isinstance(config.get("encoder"), dict) and "weights" in record.extra):
            return plan_asset(asset, self.store, batch, config)
        # Where its checkpoint lies is no part of a record: it is taken to be the one it was made with.
        encoder = {name: value for name, value in config["encoder"].items() if name != "frozen"}
        plan = plan_asset(asset, self.store, batch, config | {"encoder": encoder})
        return Plan(Recipe(plan.recipe.code_version, record.config, record.extra), plan.inputs)

    def _unasked(self, asset: str, batch: str | None) -> str | None:
        """Why an output that was never made is no gap; None where a run would make it."""
        if asset in self.settings.left_out:
            return f"the preset {self.settings.preset} leaves it out"
        if batch is not None:
            if self._was_deleted(asset, batch):
                return "it was deleted; what was made from it stands"
            return None
        if self.settings.preset is None and any(self._record(child, None) for child in self._after(asset)):
            return "no run has asked for it; what comes after it was made without it"
        return None

    def _was_deleted(self, asset: str, batch: str) -> bool:
        """The delivered pixels may be deleted once clean images stand."""
        made = self._record("clean_images", batch) is not None
        return asset == "scans" and made and self._record("scans", batch) is None

    def _after(self, asset: str) -> set[str]:
        """Every asset, not per batch, that comes after this one."""
        found: set[str] = set()
        todo = [asset]
        while todo:
            name = todo.pop()
            more = [c for c, parents in self.parents.items() if name in parents and not is_per_batch(c)]
            todo += [child for child in more if child not in found]
            found |= set(more)
        return found

    def _comes_first(self, asset: str, batch: str | None) -> str | None:
        """What has to be made before anything can be said of this output, in words; None: nothing."""
        waits: dict[str, list[str]] = {}
        for parent in self.parents[asset]:
            # What comes of a batch is made with what stands for the corpus: nobody waits for a training, but the first.
            if batch is not None and not is_per_batch(parent) and self._record(parent, None):
                continue
            of_batches = [batch] if batch else self._batches_for(asset)
            over = of_batches if is_per_batch(parent) else [None]
            late = [place for place in over if self._is_late(parent, place)]
            if late:
                waits[parent] = [place for place in late if place is not None]
        if not waits:
            return None
        places = {place for late in waits.values() for place in late}
        where = f" of {named('batch', places)}" if places else ""
        return f"it will be looked at again after {' and '.join(_nearest(waits))}{where}"

    def _is_late(self, asset: str, batch: str | None) -> bool:
        state = self.found[asset, batch].state
        return state in (STALE, WAITING, MISSING) and asset not in self.settings.left_out

    def _batches_for(self, asset: str) -> list[str]:
        """The batches that an asset of the whole corpus is made of."""
        return [batch for batch in self.batches if (batch in self.external) == (asset == EXTERNAL_ONLY)]

    def _delivered(self, asset: str, batch: str | None) -> str:
        """What became of the batch's folder since it was read, in words; empty where that cannot be told."""
        if asset != "scans" or batch is None:
            return ""
        before = {name.partition("!/")[0] for name in self.inbox.file_names(batch).values()}
        try:
            folder = self.inbox.folder(batch)
        except BadInput:
            return ""
        now = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != MARKER}
        told = [
            f"{count} {'file was' if count == 1 else 'files were'} {what} the folder"
            for count, what in ((len(now - before), "added to"), (len(before - now), "removed from"))
            if before and count
        ]
        return " and ".join(told) or "files of the folder were changed"


def _nearest(waits: Mapping[str, list[str]]) -> list[str]:
    """The names of what is waited for, a few of them."""
    names = list(waits)
    return names[:2] + ([f"{len(names) - 2} more"] if len(names) > 2 else [])


def _words(refusal: BaseException) -> str:
    if isinstance(refusal, ValidationError):
        first = refusal.errors()[0]
        return f"its settings are refused: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return refusal_words(refusal)
