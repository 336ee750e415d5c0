"""Why an output would be made again, in words a person can act on: what its record says against what a plan says.

Pure comparisons of two recipes and their inputs. Whether it would be made again is `status`' part.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fusc_pipeline.base.words import named
from fusc_pipeline.defs.engine.work import Plan
from fusc_pipeline.store.store import Recipe, Record

# What a part of a recipe's `extra` is called, by its name.
_CALLED = {
    "engine": "the OCR engine",
    "revision": "how the OCR engine reads",
    "canvas": "the size at which text is looked for",
    "weights": "the weights it starts from or reads with",
    "lexicon": "the lexicon",
    "key": "the key for patient hashes",
    "data_set": "the table, layout or labels of the data set",
    "reading": "the way the words were read",
    "checker": "the second OCR engine",
    "engines": "an OCR engine",
    "external": "which batches are external",
    "templates": "the page's templates",
    "model": "the model in service",
}
# What an input is called that is no asset.
_INPUTS = {
    "answers": "the answers of `fusc audit-labels`",
    "history": "which model a person or a rule put in service",
    "bundle": "the files of the model in service (some are gone)",
}


def reasons(record: Record, plan: Plan, delivered: str = "") -> list[str]:
    """Every difference between how an output was made and how it would be made now; never empty.

    delivered: what became of the batch's folder, in words, for where that is the difference.
    """
    said = [*recipe_reasons(record, plan.recipe), *input_reasons(record, plan.inputs, delivered)]
    if said:
        return said
    return ["it was made by an earlier release, which kept less about how" if not record.code_version else "it differs"]


def recipe_reasons(record: Record, recipe: Recipe) -> list[str]:
    """What changed of the program and the settings."""
    said = []
    if record.code_version and record.code_version != recipe.code_version:
        said.append(f"the program's version of this step changed ({record.code_version} -> {recipe.code_version})")
    changed = list(changes(flat(record.config), flat(recipe.config)))
    if changed:
        said.append(f"settings changed: {', '.join(changed)}")
    old, new = record.extra, _plain(recipe.extra)
    # An earlier release kept no version and no extra: nothing can be told of these then.
    if record.code_version:
        said += [_extra_words(name, old, new) for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    elif not changed and Recipe(recipe.code_version, record.config, recipe.extra).key != record.recipe:
        said.append("it was made by an earlier release")
    return said


def input_reasons(record: Record, inputs: Mapping[str, str], delivered: str = "") -> list[str]:
    """What changed of the inputs."""
    said, before = [], record.inputs
    new, gone, other = (
        [name for name in sorted(names) if "/" in name]
        for names in (
            inputs.keys() - before.keys(),
            before.keys() - inputs.keys(),
            {name for name in inputs.keys() & before.keys() if inputs[name] != before[name]},
        )
    )
    added, left = _batches(new) - _batches(before), _batches(gone) - _batches(inputs)
    if added:
        said.append(f"{_batch_words(added)} not in it yet")
    if left:
        said.append(f"{_batch_words(left)} in it and should not be: gone, marked external, or failed a check")
    for asset in sorted({name.partition("/")[0] for name in other}):
        those = _batches(name for name in other if name.startswith(f"{asset}/"))
        said.append(f"made from another {asset} of {named('batch', those)} than the present one")
    rest = sorted(name for name in {*before, *inputs} if "/" not in name and before.get(name) != inputs.get(name))
    for name in rest:
        if name == "delivery":
            said.append(delivered or "files of the folder were added, removed or changed")
        elif name in _INPUTS:
            said.append(f"{_INPUTS[name]} changed")
        elif name not in before:
            said.append(f"{name} is not in it yet")
        elif name not in inputs:
            said.append(f"{name} is in it and is out of date or gone")
        else:
            said.append(f"made from another {name} than the present one")
    return said


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    """`name old -> new` for every setting that differs."""
    for name in sorted({*before, *after}):
        if name not in before:
            yield f"{name} (new) -> {after[name]}"
        elif name not in after:
            yield f"{name} {before[name]} -> (gone)"
        elif before[name] != after[name]:
            yield f"{name} {before[name]} -> {after[name]}"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name, as they would come back from JSON."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return found


def _batch_words(batches: set[str]) -> str:
    return f"{named('batch', batches)} {'is' if len(batches) == 1 else 'are'}"


def _batches(names: Iterable[str]) -> set[str]:
    return {name.partition("/")[2] for name in names if "/" in name}


def _extra_words(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    called = _CALLED.get(name, name)
    if name == "weights" and "engine" in after:
        called = f"{'EasyOCR' if after['engine'] == 'easyocr' else 'RapidOCR'}'s weights"
        return f"{called} changed"
    old, new = before.get(name), after.get(name)
    short = all(isinstance(value, int | float) or (isinstance(value, str) and len(value) < 20) for value in (old, new))
    return f"{called} changed" + (f" ({old} -> {new})" if short else "")


def _plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    """As it would come back from JSON."""
    import json

    return json.loads(json.dumps(dict(extra), default=str))
