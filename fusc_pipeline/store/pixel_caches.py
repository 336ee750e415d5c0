"""Where the decoded pixels of a set of images lie, so that each is decoded once.

Making them is `representation`'s part. They can always be made again: `fusc gc` clears those that no asset in use
would ask for.
"""

from pathlib import Path

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.store.store import Store

PIXELS = "pixels"  # folder under work/


def pixel_cache(store: Store, version: str, size: int, resize: str) -> Path:
    """The folder for one set of images (version: tells it from others), one side in pixels and one way of resizing."""
    return pixel_caches(store) / digest([version, size, resize])[:16]


def pixel_caches(store: Store) -> Path:
    """The folder of all of them."""
    return store.root / "work" / PIXELS
