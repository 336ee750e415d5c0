"""Counts, lists and codes in plain English, for messages, pages and the report."""

from collections.abc import Iterable, Sequence

MOST_NAMES = 3  # that a sentence lists; the rest is a number


def listed(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """ "1 frame", "1,204 frames"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def tight(text: str) -> str:
    """Per cent signs kept on the line of their number."""
    return text.replace(" %", "\u00a0%")


def sentence(text: str) -> str:
    """A code such as `too_large` as words with a capital."""
    words = text.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def named(what: str, names: Iterable[str]) -> str:
    """`batch a`, `batches a and b`, `batches a, b, c and 4 more`."""
    ordered = sorted(names)
    many = what if len(ordered) == 1 else f"{what}es" if what.endswith("ch") else f"{what}s"
    if len(ordered) > MOST_NAMES:
        return f"{many} {', '.join(ordered[:MOST_NAMES])} and {len(ordered) - MOST_NAMES} more"
    return f"{many} {' and '.join([', '.join(ordered[:-1]), ordered[-1]] if len(ordered) > 1 else ordered)}"
