"""Manufacturer and model by an allow-list: what a header says beside it may be a site's own words and is not kept."""

import re

# Canonical maker -> how headers write it.
_MAKERS: dict[str, re.Pattern[str]] = {
    "ge": re.compile(r"\bg\.?\s*e\.?\b|general electric|kretz"),
    "philips": re.compile(r"philips|\batl\b"),
    "samsung": re.compile(r"samsung|medison"),
    "siemens": re.compile(r"siemens|acuson"),
    "canon": re.compile(r"canon|toshiba"),
    "hitachi": re.compile(r"hitachi|aloka"),
    "mindray": re.compile(r"mindray"),
    "sonosite": re.compile(r"sonosite"),
    "esaote": re.compile(r"esaote"),
    "fujifilm": re.compile(r"fujifilm"),
    "supersonic": re.compile(r"supersonic"),
}
# Product lines and the model marks they are sold under; a mark that does not match leaves the line alone. No pattern
# takes letters it does not spell out: what stands beside a model may be a name or initials.
_MODELS: dict[str, re.Pattern[str]] = {
    "ge": re.compile(
        r"voluson (?:e6|e8|e10|s6|s8|s10|p6|p8|730|swift|expert ?\d\d|signature ?\d\d)|voluson"
        r"|logiq (?:\d{3}|[efpsv]\d{1,2}|e)|logiq|vivid (?:\d|[eist]\d{0,2}|q)|vivid|venue|versana"
    ),
    "philips": re.compile(
        r"epiq (?:5|7|cvx|elite)[cgw]?|epiq|affiniti (?:30|50|70)[cgw]?|affiniti|iu22|ie33|hd11|hd15"
        r"|hdi ?[35]000|cx50|clearvue|sparq|lumify"
    ),
    "samsung": re.compile(r"ws80a|hs[3-9]0a?|rs8[05]a?|hera w(?:9|10)|accuvix|sonoace|ugeo ?[a-z]?\d{2}"),
    "siemens": re.compile(r"acuson (?:s[123]000|x[1-7]00|sequoia|antares|redwood|juniper)|s[123]000|sequoia|antares"),
    "canon": re.compile(r"aplio (?:[aitx]?\d{3})|aplio|xario ?\d{0,3}"),
    "hitachi": re.compile(r"ssd-?\d{4}|prosound ?(?:alpha ?|[afs])?\d{1,2}|prosound|arietta ?\d{0,3}|preirus|avius"),
    "mindray": re.compile(r"resona ?[ir]?\d{1,2}|resona|dc-?\d{1,2}|nuewa ?[air]\d{1,2}|nuewa"),
    "sonosite": re.compile(r"turbo|edge|s-nerve|x-porte|micromaxx|titan"),
    "esaote": re.compile(
        r"mylab ?(?:x?\d{1,2}|alpha|delta|eight|five|gamma|gold|nine|omega|one|seven|sigma|six|touch|twice)|mylab"
    ),
    "fujifilm": re.compile(r"arietta ?\d{0,3}|sonosite"),
    "supersonic": re.compile(r"aixplorer|mach ?\d{2}"),
}


def machine_name(manufacturer: str | None, model: str | None) -> str | None:
    """ "ge voluson e8", "philips cx50", "hitachi" (model not known), "other" (neither known), None (both absent)."""
    words = " ".join(f"{manufacturer or ''} {model or ''}".casefold().split())
    if not words:
        return None
    for maker, pattern in _MAKERS.items():
        if pattern.search(words):
            found = _MODELS[maker].search(words)
            return f"{maker} {found.group()}" if found else maker
    return "other"
