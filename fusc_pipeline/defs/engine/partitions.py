"""Partitions: one delivered folder of scans is one `scan_batch`."""

import dagster as dg

SCAN_BATCH = "scan_batch"
scan_batches = dg.DynamicPartitionsDefinition(name=SCAN_BATCH)
