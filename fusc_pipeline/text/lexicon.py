"""What sonographers type for each view, and how an OCR reading of it is recognised: text → view or None, never a guess.

Words and layout of a whole frame are `matching`'s business; the decision for a frame is `labels`'.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import OSA

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.views import VIEWS


@dataclass(frozen=True)
class Match:
    """A text names `view`: through lexicon entry `alias`, with `score` (1 exact, lower where edits or confusions were
    needed) by `rule`: exact, folded, pattern, within (one of several words), or edits."""

    view: str
    alias: str
    score: float
    rule: str


ALIASES: dict[str, tuple[str, ...]] = {
    "Spine": ("SPINE", "FETAL SPINE", "SPINAL COLUMN", "VERTEBRAE"),
    "Lips/Nose": ("LIPS/NOSE", "NOSE/LIPS", "LIPS", "LIP", "NOSE", "LIPS AND NOSE", "NOSE AND LIPS", "NOSTRILS"),
    "Kidney": ("KIDNEY", "KIDNEYS", "RENAL"),
    "Orbit": ("ORBIT", "ORBITS", "EYES", "EYE"),
    "LVOT": ("LVOT", "LV OUTFLOW", "LV OUTFLOW TRACT", "LT OUTFLOW TRACT", "LEFT OUTFLOW TRACT",
             "LEFT VENTRICULAR OUTFLOW TRACT"),
    "RVOT": ("RVOT", "RV OUTFLOW", "RV OUTFLOW TRACT", "RT OUTFLOW TRACT", "RIGHT OUTFLOW TRACT",
             "RIGHT VENTRICULAR OUTFLOW TRACT"),
    "Brain": ("BRAIN", "HEAD", "CEREBELLUM", "CEREBELLAR", "BRAIN CB", "BRAIN TV", "BRAIN TC", "POSTERIOR FOSSA",
              "POST FOSSA", "LATERAL VENTRICLES", "LAT VENTRICLES", "TRANSVENTRICULAR", "TRANSCEREBELLAR",
              "TRANSTHALAMIC"),
    "Cord Insertion": ("CORD INSERTION", "CORD INSERT", "CORD INS", "CI", "ACI", "ABDO CORD INSERTION",
                       "ABDOMINAL CORD INSERTION", "FETAL CORD INSERTION", "ABD CORD INSERTION", "CORD INSERTION SITE"),
    "4CH": ("4CH", "4CHV", "4CV", "4 CHAMBER", "4 CHAMBERS", "4 CHAMBER HEART", "FOUR CHAMBER", "FOUR CHAMBERS",
            "FOUR CHAMBER HEART", "HEART 4CH", "4CH HEART", "A4C"),
    "Femur": ("FEMUR", "FEMURS", "FEMORA"),
    "3VV/3VT": ("3VV/3VT", "3VT/3VV", "3VV", "3VT", "3VTV", "3VVT", "3 VESSEL", "3 VESSELS", "3 VESSEL TRACHEA",
                "3 VESSELS AND TRACHEA", "3 VESSELS TRACHEA", "THREE VESSEL", "THREE VESSELS", "THREE VESSEL TRACHEA"),
    "Diaphragm": ("DIAPHRAGM", "DIAPHRAGMS", "DIAPH", "HEMIDIAPHRAGM"),
    "Abdomen": ("ABDOMEN", "ABDO", "ABD", "ABDOMINAL"),
    "Profile": ("PROFILE", "FACE PROFILE", "FACIAL PROFILE", "FETAL PROFILE"),
    "Feet": ("FEET", "FOOT"),
}  # fmt: skip

# Words that say how, where or which side, and leave the view as it is.
_QUALIFIERS = (
    "R L RT LT RIGHT LEFT BOTH BILAT BILATERAL SAG SAGITTAL MIDSAG MIDSAGITTAL PARASAG TRANS TRANSV TRV TRANSVERSE TS "
    "COR CORONAL AX AXIAL LONG LONGITUDINAL LS OBL OBLIQUE VIEW VIEWS PLANE LEVEL FETAL FETUS BABY TWIN UPPER LOWER "
    "CERV CERVICAL THOR THORACIC LUMBAR SACRAL LUMBOSACRAL AND ANT POST"
)
QUALIFIERS = frozenset(_QUALIFIERS.split())

# Presets, packages, measurements and settings that hold a view's word or look like one: never a label.
_STOP_WORDS = (
    "OB OBGYN GYN OBSTETRICAL TRIM TRIMESTER HEART CARDIAC ROUTINE PRESET EXAM TIB MI TIS TISB GN PWR HAR FR AC HC BPD "
    "FL EFW OFD TCD AFI GA EDD LMP CIRC CIRCUMFERENCE DIAM DIAMETER LENGTH AREA VOLUME RATIO VEL ANGLE PLACENTA "
    "PLACENTAL MATERNAL ADULT RENALS PEDIATRIC VASCULAR MSK SRI CRI XBEAM GENERAL STANDARD"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
# Aliases that hold a stop word as one of theirs ("4 CHAMBER HEART") are matched before the stop words are looked at.

# Hash of the words with which frames were read before recipes named any. While it holds, those readings stand.
_UNNAMED = "0484220b7ff36f38cf453e337707f99c9455e9eb4608b2a0370e17af44798231"


def lexicon_identity() -> dict[str, str]:
    """What of the words above decides a reading, for its fingerprint: a changed word list reads every frame again."""
    words = digest([ALIASES, sorted(QUALIFIERS), sorted(STOP_WORDS)])
    return {} if words == _UNNAMED else {"lexicon": words}


# A number with a unit is a measurement or a setting.
_UNIT = re.compile(r"\d\s*(CM|MM|HZ|KHZ|MHZ|DB|FPS|BPM|ML|%)|\d\s*W\s*\d|\d+[.:]\d+")

_FOLD = str.maketrans("OQDILJ|!SBZGYU", "000111115826VV")
# Lead of 3VV and 3VT as engines misread it, after folding (3, B or 8, S or 5, E).
_THREE = "[385E]"
_PATTERNS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("4CH", re.compile(r"[4A][C0]H[V1]?"), "4CH"),
    ("3VV/3VT", re.compile(rf"{_THREE}V{{2,3}}"), "3VV"),
    ("3VV/3VT", re.compile(rf"{_THREE}V{{1,2}}TV?"), "3VT"),
    ("3VV/3VT", re.compile(rf"{_THREE}V{{2,4}}[17]?{_THREE}V{{1,2}}[T7]?"), "3VV/3VT"),
)
# Letters that engines take for each other in small type; the only edits allowed in words of four letters.
_LOOK_ALIKE = tuple(
    map(frozenset, ("COGQ0D", "EF", "EB8", "I1LJT", "HNM", "VYUW", "A4", "S5", "PF", "T7", "Z2", "B8R", "S8"))
)

_SCORES = {"exact": 1.0, "folded": 0.95, "pattern": 0.9, "within": 0.9}


def normalise(text: str) -> str:
    """Upper case, letters and digits only."""
    return re.sub(r"[^A-Z0-9]", "", text.upper())


def tokens(text: str) -> list[str]:
    """Words of a text: upper case runs of letters and digits."""
    return re.findall(r"[A-Z0-9]+", text.upper())


def fold(text: str) -> str:
    """Characters that engines confuse become one: 0/O/Q/D, 1/I/L/J, 5/S, 8/B, 2/Z, 6/G, V/Y/U, VV/W."""
    return normalise(text).replace("W", "VV").translate(_FOLD)


_EXACT: dict[str, tuple[str, str]] = {normalise(alias): (view, alias) for view in VIEWS for alias in ALIASES[view]}
_FOLDED: dict[str, tuple[str, str]] = {fold(alias): (view, alias) for view in VIEWS for alias in ALIASES[view]}
_OUTFLOW = frozenset({"LVOT", "RVOT"})


def match_view(text: str) -> Match | None:
    """The one view a text names, or None: it names none, it names several, or the reading is doubtful."""
    matches = views_named(text)
    return matches[0] if len(matches) == 1 else None


@lru_cache(maxsize=8192)
def views_named(text: str) -> tuple[Match, ...]:
    """Every view a text names, best match first, one Match per view; several mean that it cannot be a label."""
    if _UNIT.search(text.upper()):
        return ()
    words = tokens(text)
    if not words or len(words) > 8 or len(normalise(text)) > 48:
        return ()
    whole = _match_phrase("".join(words))
    if whole is not None and whole.rule == "exact":
        return (whole,)
    if any(word in STOP_WORDS for word in words):
        rest = _exact_runs(words)
        return rest if not _stopped(words, rest) else ()
    bare = [word for word in words if word not in QUALIFIERS]
    if bare and len(bare) < len(words):
        core = _match_phrase("".join(bare))
        if core is not None and core.rule == "exact":
            return (core,)
        whole = whole or core
    runs = _exact_runs(words)
    if runs:
        return runs
    if whole is not None:
        return (whole,)
    # Several words, none exact: each may be a confused spelling of its own.
    found: dict[str, Match] = {}
    if len(bare) > 1:
        for word in bare:
            match = _match_phrase(word) if len(word) >= 4 else None
            if match is not None:
                found.setdefault(match.view, Match(match.view, match.alias, 0.9 * match.score, match.rule))
    return tuple(sorted(found.values(), key=lambda match: -match.score))


def _stopped(words: list[str], runs: tuple[Match, ...]) -> bool:
    """Whether stop words remain once the words that make up the matched aliases are taken away."""
    used = {word for match in runs for word in tokens(match.alias)}
    return any(word in STOP_WORDS and word not in used for word in words)


def _exact_runs(words: list[str]) -> tuple[Match, ...]:
    """Views named exactly by a run of consecutive words; the longest run wins over those inside it."""
    found: dict[str, Match] = {}
    start = 0
    while start < len(words):
        for end in range(len(words), start, -1):
            joined = "".join(words[start:end])
            # Two letters inside a longer text ("CI") are too little.
            if len(joined) >= 3 and joined in _EXACT:
                view, alias = _EXACT[joined]
                found.setdefault(view, Match(view, alias, _SCORES["within"], "within"))
                start = end
                break
        else:
            start += 1
    return tuple(found.values())


def _match_phrase(joined: str) -> Match | None:
    """A whole phrase, normalised: exact alias, folded alias, pattern of the short ones, or few edits."""
    if joined in _EXACT:
        view, alias = _EXACT[joined]
        return Match(view, alias, _SCORES["exact"], "exact")
    if len(joined) < 2:
        return None
    folded = fold(joined)
    if len(joined) >= 3 and folded in _FOLDED and not _doubtful_fold(joined):
        view, alias = _FOLDED[folded]
        return Match(view, alias, _SCORES["folded"], "folded")
    for view, pattern, alias in _PATTERNS:
        # Two characters ("3W") only with a clean 3.
        if pattern.fullmatch(folded) and (len(joined) > 2 or joined[0] == "3"):
            return Match(view, alias, _SCORES["pattern"], "pattern")
    return _match_edits(joined, folded)


def _doubtful_fold(joined: str) -> bool:
    """Short words made of digits mostly ("0C1") fold onto letters too easily."""
    return sum(character.isdigit() for character in joined) > len(joined) // 2


def _match_edits(joined: str, folded: str) -> Match | None:
    """Aliases of four letters or more within few edits (optimal string alignment); a tie between views is None."""
    if len(joined) < 4:
        return None
    best: dict[str, tuple[int, str]] = {}
    for (plain, (view, alias)), alias_folded in zip(_EXACT.items(), _FOLDED_BY_ALIAS, strict=True):
        limit = _edit_limit(len(plain))
        if limit == 0:
            continue
        distance = min(
            OSA.distance(joined, plain, score_cutoff=limit), OSA.distance(folded, alias_folded, score_cutoff=limit)
        )
        if distance > limit or (len(plain) == 4 and not _looks_like(joined, plain)):
            continue
        if view not in best or distance < best[view][0]:
            best[view] = (distance, alias)
    # LVOT and RVOT differ in one letter: that letter must be read as it is.
    for view in _OUTFLOW & best.keys():
        if joined[0] != view[0]:
            del best[view]
    if not best:
        return None
    ranked = sorted((distance, view, alias) for view, (distance, alias) in best.items())
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        return None
    distance, view, alias = ranked[0]
    return Match(view, alias, round(max(0.5, 0.95 - distance / len(normalise(alias))), 3), "edits")


_FOLDED_BY_ALIAS: tuple[str, ...] = tuple(fold(alias) for _, alias in _EXACT.values())


def _edit_limit(length: int) -> int:
    """Edits allowed for an alias of so many characters."""
    if length < 4:
        return 0
    return 1 if length <= 7 else 2 if length <= 9 else 3


def _looks_like(read: str, alias: str) -> bool:
    """Same length, and every differing pair of characters is one that engines confuse."""
    return len(read) == len(alias) and all(
        a == b or any(a in group and b in group for group in _LOOK_ALIKE) for a, b in zip(read, alias, strict=True)
    )
