"""The store and its Parquet IO manager as Dagster resources, both at the data root."""

import dagster as dg
from pydantic import Field

from fusc_pipeline.defs.engine.parquet_io import ParquetIOManager
from fusc_pipeline.host.places import data_root
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.store.store import Store


class StoreResource(dg.ConfigurableResource):
    """Where every output lives."""

    root: str = Field(default="", description="Data root; empty: the environment variable FUSC_DATA, else ./data.")

    def get(self) -> Store:
        return Store(data_root(self.root))

    def inbox(self) -> Inbox:
        return Inbox(self.get().root)


class ParquetResource(dg.ConfigurableIOManagerFactory):
    """Loads upstream tables for assets that take them as parameters."""

    root: str = Field(default="", description="Data root; empty: the environment variable FUSC_DATA, else ./data.")

    def create_io_manager(self, context: dg.InitResourceContext) -> ParquetIOManager:
        return ParquetIOManager(Store(data_root(self.root)))
