"""How a check is declared, run once per version, and remembered. What is checked stands in the groups' `checks`.

A check's verdict stays beside the version it judged (`store.check_results`): a later run takes it as it is instead of
reading tables again, and refuses to build on a version that failed a blocking check (`materialize`). Making an asset
again, by `force` too, makes a new version and so judges it anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pyarrow as pa

from fusc_pipeline.base.errors import BadInput, FuscError
from fusc_pipeline.defs.engine.begin_step import begin_step
from fusc_pipeline.defs.engine.failures import refusals
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.engine.work import is_per_batch
from fusc_pipeline.store.check_results import Verdict
from fusc_pipeline.store.store import Record, Store
from fusc_pipeline.store.whole import gone, lacking

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
SOUND = "as it should be"


@dataclass(frozen=True)
class CheckedVersion:
    """The version a check looks at: the one in use, of one batch where the asset is made per batch."""

    store: Store
    record: Record

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """Its table, or some of its columns."""
        return self.store.table(self.record.asset, self.record.partition, columns)

    @property
    def folder(self) -> Path:
        return self.store.folder(self.record.asset, self.record.partition)


@dataclass(frozen=True)
class Finding:
    """What a check found. description: what is wrong and what to do, without names of patients or files."""

    passed: bool
    description: str
    severity: dg.AssetCheckSeverity
    metadata: dict[str, Any] = field(default_factory=dict)


def finding(passed: bool, description: str, severity: dg.AssetCheckSeverity = ERROR, **metadata: Any) -> Finding:
    """A finding; numbers of numpy become plain ones, since it is kept as JSON."""
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in metadata.items()}
    return Finding(bool(passed), SOUND if passed else description, severity, plain)


@dataclass(frozen=True)
class Check:
    """One check of one asset. `judge` gets the version in use and gives a finding; it may read other assets too."""

    asset: str
    name: str
    description: str
    judge: Callable[[CheckedVersion], Finding]
    blocking: bool
    code_version: str

    def spec(self) -> dg.AssetCheckSpec:
        """As Dagster knows it."""
        return dg.AssetCheckSpec(name=self.name, asset=self.asset, description=self.description, blocking=self.blocking)

    def verdict(self, made: CheckedVersion) -> tuple[Verdict, bool]:
        """(the verdict on this version, whether it was kept from before). Raises FuscError when it cannot be judged."""
        kept = made.store.verdicts(made.record.asset, made.record.partition).get(self.name)
        if kept is not None and kept.code_version == self.code_version:
            return kept, True
        said = self.judge(made)
        verdict = Verdict(
            check=self.name,
            code_version=self.code_version,
            passed=said.passed,
            blocks=self.blocking and said.severity is ERROR,
            severity=said.severity.value,
            description=said.description,
            metadata=said.metadata,
        )
        made.store.keep_verdict(made.record, verdict)
        return verdict, False


def check(
    asset: str, *, name: str = "", blocking: bool = False, code_version: str = "1"
) -> Callable[[Callable[[CheckedVersion], Finding]], Check]:
    """Declare a check in place of `dg.asset_check`. Its docstring is its description.

    blocking: an ERROR keeps this run and all later ones from building on the version. code_version: raise it when the
    check judges otherwise than before; kept verdicts of another one do not count.
    """

    def declared(judge: Callable[[CheckedVersion], Finding]) -> Check:
        description = " ".join((judge.__doc__ or "").split())
        return Check(asset, name or judge.__name__, description, judge, blocking, code_version)

    return declared


def checks_of(*modules: ModuleType) -> list[Check]:
    """Every check that stands in these modules, alone or in a list."""
    there = []
    for module in modules:
        for value in vars(module).values():
            there += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, Check)]
    return list(dict.fromkeys(there))


def check_steps(checks: Iterable[Check]) -> list[dg.AssetChecksDefinition]:
    """The checks for Dagster, one step for all of an asset: a step of its own for each would cost more than judging."""
    of_asset: dict[str, list[Check]] = {}
    for one in checks:
        of_asset.setdefault(one.asset, []).append(one)
    return [_step(asset, those) for asset, those in of_asset.items()]


def _step(asset: str, checks: list[Check]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"{asset}_checks", specs=[one.spec() for one in checks])
    def judged(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        begin_step(context)
        partition = context.partition_key if is_per_batch(asset) else None
        yield from _results(asset, partition, checks, store.get())

    return judged


def _results(asset: str, partition: str | None, checks: list[Check], store: Store) -> list[dg.AssetCheckResult]:
    with refusals(discreet=is_per_batch(asset), private=store.private):
        made = CheckedVersion(store, store.require(asset, partition))
        names = lacking(store, made.record)
        return [_result(one, made, names) for one in checks]


def _result(one: Check, made: CheckedVersion, lost: list[str]) -> dg.AssetCheckResult:
    """lost: files that the version should hold; without them nothing that a check says, or said, holds of it."""
    try:
        if lost:
            raise BadInput(f"{gone(lost)}; materialise {made.record.asset} again")
        verdict, kept = one.verdict(made)
    except FuscError as refusal:  # not kept: it says nothing of the version itself
        verdict, kept = _unjudged(one, str(refusal)), False
    return dg.AssetCheckResult(
        asset_key=one.asset,
        check_name=one.name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity(verdict.severity),
        description=verdict.description,
        metadata={**_known(verdict.metadata), "fusc/cache": "hit" if kept else "miss"},
    )


def _unjudged(one: Check, words: str) -> Verdict:
    return Verdict(one.name, one.code_version, False, one.blocking, ERROR.value, f"it could not be judged: {words}")


def _known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if value is not None}
