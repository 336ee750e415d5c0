"""A picture's bytes as text that a page can hold."""

import base64


def data_uri(picture: bytes) -> str:
    """A PNG, JPEG or SVG as a data URI; raises ValueError for anything else."""
    if picture.startswith(b"\x89PNG"):
        kind = "image/png"
    elif picture.startswith(b"\xff\xd8\xff"):
        kind = "image/jpeg"
    elif b"<svg" in picture[:1000]:
        kind = "image/svg+xml"
    else:
        raise ValueError(f"a picture must be PNG, JPEG or SVG; this one starts with {picture[:8]!r}")
    return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"
