"""How many of the words that are really on the 46 real frames an engine read; the truth is `true_words.tsv`.

A unit is what whitespace and slashes separate, compared without case and surrounding punctuation; I, l and | look the
same on these screens and count as the same. A unit counts once for each time it is on the frame, wherever it was read.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

TRUTH = Path(__file__).with_name("true_words.tsv")
_SAME_SHAPE = str.maketrans({"l": "i", "|": "i"})


def units(text: str) -> list[str]:
    """The comparable units of one string; pieces without a letter or digit are none."""
    pieces = re.split(r"[\s/]+", text.lower().translate(_SAME_SHAPE))
    stripped = (re.sub(r"^[^a-z0-9+-]+|[^a-z0-9+]+$", "", piece) for piece in pieces)
    return [piece for piece in stripped if re.search(r"[a-z0-9]", piece)]


def truth(path: Path = TRUTH) -> dict[str, Counter[str]]:
    """File (relative to the scans' folder) → its units, counted."""
    found: dict[str, Counter[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            file, text = line.split("\t")
            found.setdefault(file, Counter()).update(units(text))
    return found


def read_right(expected: Counter[str], texts: Iterable[str]) -> Counter[str]:
    """The expected units that are among the texts read, counted."""
    return expected & Counter(unit for text in texts for unit in units(text))
