"""Synthetic second-trimester scans on vendor-like screens: what the demo and the tests run on.

Nothing here reads or cleans a scan, and nothing that does may look in here; no Dagster.
"""

from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.deliver import truth_path, write_batch
from fusc_pipeline.phantom.render import PhantomFrame, iter_frames, render_frame
from fusc_pipeline.phantom.sheet import contact_sheet

__all__ = ["PhantomConfig", "PhantomFrame", "contact_sheet", "iter_frames", "render_frame", "truth_path", "write_batch"]
