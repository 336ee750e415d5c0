"""Named run configurations: YAML files in this folder, each also a job in the UI. Unknown keys are refused.

What a setting means and its range is said by the asset that has it.
"""

import difflib
import itertools
import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.host.places import expanded

TOP_LEVEL = ("ops", "execution", "resources", "loggers")
# A preset's own key beside the run configuration: assets that its run leaves out.
LEAVE_OUT = "leave_out"


def preset_names() -> list[str]:
    """Names of the presets inside the package."""
    return sorted(p.name.removesuffix(".yaml") for p in resources.files(__name__).iterdir() if p.name.endswith(".yaml"))


def load_preset(name: str) -> dict[str, Any]:
    """The run configuration of that name; raises BadSetting with the nearest known name."""
    return {key: value for key, value in _content(name).items() if key != LEAVE_OUT}


def left_out(name: str) -> list[str]:
    """The assets that a run with this preset leaves out."""
    return _content(name).get(LEAVE_OUT) or []


def about(name: str) -> str:
    """What the preset is for: the comment at the head of its file."""
    lines = preset_text(name).splitlines()
    return " ".join(line[1:].strip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines))


def _content(name: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(preset_text(name)) or {}
    except yaml.YAMLError as error:
        raise BadSetting(f"the preset {name} is no YAML: {' '.join(str(error).split())}") from error
    _check(content, (*TOP_LEVEL, LEAVE_OUT), f"preset {name}")
    without = content.get(LEAVE_OUT) or []
    if not (isinstance(without, list) and all(isinstance(asset, str) for asset in without)):
        raise BadSetting(f"{LEAVE_OUT} of the preset {name} must be a list of assets, not {without!r}")
    return content


def preset_text(name: str) -> str:
    """The preset's file as it is, comments and all. A name that ends in .yaml is a file of one's own."""
    if name.endswith((".yaml", ".yml")):
        try:
            return expanded(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(
                f"the preset file {name} cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})"
            ) from None
    if name not in preset_names():
        own = " (a file of your own ends in .yaml)" if "/" in name or Path(name).suffix else ""
        raise BadSetting(f"there is no preset {name!r}{_nearest(name, preset_names())}{own}")
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text()


def check_run_config(config: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise BadSetting for the first unknown asset or field, with the nearest known one.

    `known` gives the config fields of each asset by the asset's name; a field's own fields, or an empty mapping.
    """
    _check(config, TOP_LEVEL, "run config")
    ops = config.get("ops") or {}
    _check(ops, known, "ops")
    for asset, body in ops.items():
        _check(body or {}, ("config", "inputs", "outputs"), f"ops.{asset}")
        _check_fields((body or {}).get("config") or {}, known[asset], f"ops.{asset}.config")


def apply_setting(config: dict[str, Any], setting: str) -> None:
    """Put `asset.field=value` (the value is YAML) into a run configuration; raises BadSetting for another form."""
    path, equals, value = setting.partition("=")
    asset, *names = path.split(".")
    if not (equals and names and asset and all(names)):
        raise BadSetting(f"--set {setting!r} is not of the form asset.field=value, e.g. simclr_encoder.epochs=50")
    body = config.setdefault("ops", {}).setdefault(asset, {}).setdefault("config", {})
    for name in names[:-1]:
        if isinstance(body, dict):
            body = body.setdefault(name, {})
    if not isinstance(body, dict):
        raise BadSetting(f"--set {setting!r} names a field of a value that has none: {body!r}")
    try:
        body[names[-1]] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise BadSetting(f"--set {setting!r}: the value is no YAML; put it in quotes, e.g. '[15, 120]'") from None


def _check_fields(found: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    _check(found, known, where)
    for name, value in found.items():
        if known[name]:
            _check_fields(value, known[name], f"{where}.{name}")


def _check(found: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    if not isinstance(found, Mapping):
        raise BadSetting(f"{where} must be a mapping of names to values, not {type(found).__name__}")
    check_known(found, known, where)


def check_known(found: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise BadSetting for the first name that is not known, with the nearest one that is."""
    names = list(known)
    for key in found:
        if key not in names:
            raise BadSetting(f"{where} has an unknown key {key!r}{_nearest(str(key), names)}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def site_preset() -> str | None:
    """The preset this installation works with unless another is named: the environment variable FUSC_PRESET."""
    return os.environ.get("FUSC_PRESET") or None


def site_config(assets: Iterable[str] | None = None) -> dict[str, Any]:
    """The run configuration of the installation's preset, {} without one; `assets`: only what is about these."""
    name = site_preset()
    config = load_preset(name) if name else {}
    if assets is not None and "ops" in config:
        wanted = set(assets)
        config["ops"] = {asset: body for asset, body in config["ops"].items() if asset in wanted}
    return config
