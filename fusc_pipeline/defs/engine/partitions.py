"""Partitions: one delivered folder of scans is one `scan_batch`."""

import dagster as dg

scan_batches = dg.DynamicPartitionsDefinition(name="scan_batch")
