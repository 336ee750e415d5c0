"""The store as a Dagster resource, at the data root."""

import dagster as dg
from pydantic import Field

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
