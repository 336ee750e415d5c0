"""Colours and markers of the figures: one look per view, chosen to survive colour blindness and grey printing.

Fifteen hues cannot be told apart by everyone, so a view is a hue family (its group in the paper: heart, head, abdomen,
bone; hues after Okabe & Ito 2008), a lightness within the family, and a marker shape of its own within the family.
"""

from fusc_pipeline.base.views import VIEW_GROUPS

INK = "#1d2733"
MUTED = "#5b6876"
FAINT = "#d7dde3"
NO_LABEL = "#b4bcc5"
ACCENT = "#1f5f99"

# Dark to light in each family; neighbours differ by at least 12 in CIE L*.
_FAMILIES = {
    "Heart": ("#a01c1c", "#e0561b", "#f79a4b", "#fccf9f"),
    "Head": ("#0b4fa0", "#2f86d1", "#74b9ec", "#b9dcf7"),
    "Abdomen": ("#00604a", "#12916b", "#4fc69b", "#abe3c8"),
    "Bone": ("#5f2c80", "#a45ab8", "#d59fe0"),
}
_SHAPES = ("o", "s", "^", "D")

_LOOKS = {
    view: (colour, shape)
    for group, views in VIEW_GROUPS.items()
    for view, colour, shape in zip(views, _FAMILIES[group], _SHAPES, strict=False)
}

# For clusters, which have no meaning of their own: the families interleaved, so that neighbouring numbers differ most.
_CLUSTER_COLOURS = tuple(
    _FAMILIES[family][level] for level in (1, 3, 0, 2) for family in _FAMILIES if level < len(_FAMILIES[family])
)


def view_colour(view: str | None) -> str:
    """Hex colour of a view; grey without one and for a name outside the fifteen."""
    return _LOOKS.get(view or "", (NO_LABEL, "x"))[0]


def view_marker(view: str | None) -> str:
    """Marker shape of a view, matplotlib's code."""
    return _LOOKS.get(view or "", (NO_LABEL, "x"))[1]


def cluster_look(cluster: int) -> tuple[str, str]:
    """(hex colour, marker) of a cluster id: 15 colours, and another shape at each round of them."""
    rounds, place = divmod(cluster, len(_CLUSTER_COLOURS))
    return _CLUSTER_COLOURS[place], _SHAPES[rounds % len(_SHAPES)]


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on a hex colour (relative luminance of WCAG 2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if luminance < 0.179 else "#000000"
