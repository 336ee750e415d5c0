"""The candidate that each training leaves, and which model is in service. When it changes: `service.promotion`."""

import contextlib

import dagster as dg
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.schemas import MODEL_IN_SERVICE
from fusc_pipeline.defs.engine.failures import refusals
from fusc_pipeline.defs.engine.gpu import GPU_OP
from fusc_pipeline.defs.engine.materialize import column_schema, materialize
from fusc_pipeline.defs.engine.networks import WEIGHTS, ComputeConfig
from fusc_pipeline.defs.engine.planning import PlanContext
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.service.candidate import build_candidate, chosen_fit
from fusc_pipeline.defs.service.promoting import Step, described, put_back
from fusc_pipeline.defs.service.served import encoder_of, served_row
from fusc_pipeline.host.locks import exclusive
from fusc_pipeline.service.bundle import CALIBRATION, FACTS, PARTS, TABLE, VECTORS
from fusc_pipeline.service.cluster_identity import LEAST_OVERLAP
from fusc_pipeline.service.in_service import CANDIDATE, IN_SERVICE, served
from fusc_pipeline.service.promotion import Rule
from fusc_pipeline.store.whole import fit_name

GROUP = "service"
ROW = served_row()
_MADE_FROM = [
    *dict.fromkeys(["corpus", f"{encoder_of(ROW)}_encoder", f"{encoder_of(ROW)}_embeddings", *ROW.upstream]),
]


class CandidateConfig(ComputeConfig):
    """Which of the fits becomes the candidate."""

    n_clusters: int = Field(
        default=15, ge=2, description="Number of clusters K; the fitted K nearest to this is taken."
    )
    seed: int = Field(
        default=-1, ge=-1, description="Seed of the fit; -1: the one whose training ended at the lowest loss."
    )


@dg.asset(
    deps=_MADE_FROM,
    group_name=GROUP,
    kinds={"pytorch", "parquet"},
    code_version="1",
    metadata=column_schema(CANDIDATE),
    **GPU_OP,
)
def candidate_model(
    context: dg.AssetExecutionContext, config: CandidateConfig, store: StoreResource
) -> dg.MaterializeResult:
    """A self-contained model that could go into service: encoder, clusters, training embeddings, what is usual.

    Packed from the present corpus, an encoder and one row of the tables (environment variable FUSC_SERVED_MODEL, else
    fusc_simclr), applied to some images to see that it says what the tables say, and scored on the test split.
    """
    files = store.get()

    def produce(draft):
        build_candidate(context, files, config, draft, ROW, _MADE_FROM)

    def holds():
        encoder = f"{PARTS}/{ROW.sees}/{WEIGHTS}"
        fit = f"{PARTS}/{ROW.name}/{fit_name(*chosen_fit(files, ROW.name, config.n_clusters, config.seed))}.safetensors"
        return [FACTS, TABLE, VECTORS, CALIBRATION, encoder, fit]

    return materialize(context, files, config, produce, upstream=_MADE_FROM, holds=holds, model=True)


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
        return Rule(self.promote, self.tolerance, self.risk)


@dg.asset(
    deps=[CANDIDATE],
    group_name=GROUP,
    kinds={"parquet"},
    code_version="1",
    metadata=column_schema(IN_SERVICE),
)
def model_in_service(
    context: dg.AssetExecutionContext, config: ServiceConfig, store: StoreResource
) -> dg.MaterializeResult:
    """The model that new batches are assigned with, and the history of promotions; both survive whatever is retrained.

    A new candidate is compared with the model in service on the same test images and decided upon once. What a person
    put in service (`fusc promote`, `fusc rollback`) stays until a newer candidate is promoted. Clusters keep their
    numbers over renewals.
    """
    files = store.get()
    # Reading the history and adding to it is one act; a plan only reads.
    lock = files.root / "locks" / "models.lock"
    planning = isinstance(context, PlanContext)
    with contextlib.nullcontext() if planning else exclusive(lock, "another decision about models", context.log.info):
        with refusals(discreet=False):  # a wrong number or rule stays wrong: not to be tried again
            damage = put_back(files, served(files), context.log.warning, plan=planning)
            step = Step.of(files, config, damage.left if damage else None)
            if damage and damage.mended and not planning:
                config = config.model_copy(update={"force": True})  # a new version, so that checks judge it anew

        def produce(draft):
            rows = step.rows(context, config, draft.work)
            table = pa.Table.from_pylist(rows, schema=MODEL_IN_SERVICE)
            draft.write_table(table)
            draft.tells(TABLE, table.drop_columns("at").to_pylist())  # when it was decided makes no other version
            draft.metadata |= described(files, rows)

        # The candidate is no input of its own: the state tells which candidates went into it, and one that was decided
        # upon before changes nothing.
        inputs = {"history": step.state}
        if planning and damage and damage.mended:
            inputs["bundle"] = "to be put back"
        return materialize(context, files, config, produce, inputs=inputs)
