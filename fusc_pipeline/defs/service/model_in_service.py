"""The candidate that each training leaves, and which model is in service. When it changes: `service.promotion`."""

from contextlib import AbstractContextManager

import dagster as dg
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.schemas import MODEL_IN_SERVICE
from fusc_pipeline.defs.engine.networks import WEIGHTS, ComputeConfig
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.service.candidate import build_candidate, chosen_fit
from fusc_pipeline.defs.service.promoting import HistoryStep, described, put_back
from fusc_pipeline.defs.service.served import DEFAULT_ROW, SERVABLE, served_row
from fusc_pipeline.host.locks import exclusive
from fusc_pipeline.service.bundle import CALIBRATION, FACTS, PARTS, TABLE, VECTORS
from fusc_pipeline.service.cluster_identity import LEAST_OVERLAP
from fusc_pipeline.service.in_service import CANDIDATE, served
from fusc_pipeline.service.promotion import Rule
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import fit_name


class CandidateConfig(ComputeConfig):
    """Which of the fits becomes the candidate."""

    n_clusters: int = Field(
        default=15, ge=2, description="Number of clusters K; the fitted K nearest to this is taken."
    )
    seed: int = Field(
        default=-1, ge=-1, description="Seed of the fit; -1: the one whose training ended at the lowest loss."
    )


def candidate_asset() -> dg.AssetsDefinition:
    """The asset `candidate_model`, made from the row of the tables that FUSC_SERVED_MODEL names, else fusc_simclr.

    A name that cannot be served is refused when the asset is asked for its work, so that all the others load.
    """
    row, refusal = SERVABLE[DEFAULT_ROW], None
    try:
        row = served_row()
    except BadSetting as wrong:
        refusal = wrong
    deps = [*dict.fromkeys(["corpus", f"{row.encoder}_encoder", f"{row.encoder}_embeddings", *row.upstream])]

    @stored_asset(deps=deps, group="service", kinds={"pytorch", "parquet"}, code_version="1", gpu=True)
    def candidate_model(context: Request, config: CandidateConfig, store: Store) -> Work:
        """A self-contained model that could go into service: encoder, clusters, training embeddings, what is usual.

        Packed from the present corpus, an encoder and one row of the tables (environment variable FUSC_SERVED_MODEL,
        else fusc_simclr), applied to some images to see that it says what the tables say, and scored on the test split.
        """
        if refusal is not None:
            raise refusal

        def produce(draft):
            build_candidate(context.run, store, config, draft, row, deps)

        def holds():
            n_clusters, seed = chosen_fit(store, row.name, config.n_clusters, config.seed)
            encoder = f"{PARTS}/{row.sees}/{WEIGHTS}"
            fit = f"{PARTS}/{row.name}/{fit_name(n_clusters, seed)}.safetensors"
            return [FACTS, TABLE, VECTORS, CALIBRATION, encoder, fit]

        return Work(produce, holds=holds, model=True)

    return candidate_model


class ServiceConfig(ComputeConfig):
    """How it is decided. All of it is a request at one time, not a property of the model: nothing is redone by it."""

    device: str = Field(
        default="cpu",
        description="Where the model in service is applied to test images new to it; a GPU may be training meanwhile.",
        json_schema_extra={"runtime": True},
    )
    promote: str = Field(
        default="auto",
        description="auto: a new candidate is promoted when it is not worse than the model in service; always; never.",
        json_schema_extra={"runtime": True},
    )
    tolerance: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="auto: by how much NMI (without labels: neighbour agreement) may fall.",
        json_schema_extra={"runtime": True},
    )
    risk: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="auto: chance accepted that it falls by more than the tolerance, over draws of test subjects.",
        json_schema_extra={"runtime": True},
    )
    least_overlap: float = Field(
        default=LEAST_OVERLAP,
        ge=0.0,
        le=1.0,
        description="A cluster keeps its number when the images that both models put into it are at least this share "
        "of those that either does.",
        json_schema_extra={"runtime": True},
    )
    use: int = Field(
        default=0,
        ge=0,
        description="Put the model of this number in service, whatever the candidate; 0: decide about the candidate.",
        json_schema_extra={"runtime": True},
    )

    def rule(self) -> Rule:
        """The rule of promotion; BadSetting for an unknown one."""
        return Rule(promote=self.promote, tolerance=self.tolerance, risk=self.risk)


def _one_at_a_time(context: Request, store: Store) -> AbstractContextManager[bool]:
    """Reading the history and adding to it is one act."""
    return exclusive(store.root / "locks" / "models.lock", "another decision about models", context.log.info)


@stored_asset(deps=[CANDIDATE], group="service", kinds={"parquet"}, code_version="1", around=_one_at_a_time)
def model_in_service(context: Request, config: ServiceConfig, store: Store) -> Work:
    """The model that new batches are assigned with, and the history of promotions; both survive whatever is retrained.

    A new candidate is compared with the model in service on the same test images and decided upon once. What a person
    put in service (`fusc promote`, `fusc rollback`) stays until a newer candidate is promoted. Clusters keep their
    numbers over renewals.
    """
    damage = put_back(store, served(store), context.log.warning, plan=context.planned)
    step = HistoryStep.of(store, config, damage.left if damage else None)
    mended = damage is not None and damage.mended

    def produce(draft):
        rows = step.rows(context.run, config, draft.work)
        table = pa.Table.from_pylist(rows, schema=MODEL_IN_SERVICE)
        draft.write_table(table)
        draft.tells(TABLE, table.drop_columns("at").to_pylist())  # when it was decided makes no other version
        draft.metadata |= described(store, rows)

    # The candidate is no input of its own: the state tells which candidates went into it, and one that was decided
    # upon before changes nothing.
    inputs = {"history": step.state}
    if mended and context.planned:
        inputs["bundle"] = "to be put back"
    # What was put back is made again, a new version, so that checks judge it anew.
    return Work(produce, upstream=(), inputs=inputs, force=mended and not context.planned)
