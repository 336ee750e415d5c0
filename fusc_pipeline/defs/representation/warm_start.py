"""What an encoder's training starts from when it is a renewal: the encoder in service, held fast for the whole run."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.defs.engine.networks import WEIGHTS
from fusc_pipeline.host.atomic import replace_text, whole_file
from fusc_pipeline.service.in_service import served
from fusc_pipeline.store.store import Store

_CHOICE, _COPY = "start.json", "start.safetensors"


@dataclass(frozen=True)
class Start:
    """weights: a checkpoint's path, "" for random weights; words: for the asset's metadata; model: in service, 0: none
    of them."""

    weights: str
    words: str
    model: int


def warm_start(log: Any, store: Store, asset: str, config: Any, work: Path) -> Start:
    """The encoder `asset` of the model in service where it is of the same network, else what the settings name.

    The choice and a copy of the weights stay in `work`: a run that was killed goes on from what it began with, whatever
    is in service by then.
    """
    chosen = work / _CHOICE
    if chosen.exists():
        return Start(**json.loads(chosen.read_text()))
    work.mkdir(parents=True, exist_ok=True)
    found = _choose(store, asset, config, work / _COPY)
    log.info(f"{asset}: {found.words}")
    replace_text(chosen, json.dumps(asdict(found)))
    return found


def _choose(store: Store, asset: str, config: Any, copy: Path) -> Start:
    def cold(why: str) -> Start:
        given = config.encoder.weights
        return Start(given, f"starts from {'encoder.weights' if given else 'random weights'}: {why}", 0)

    model = served(store)
    if model is None:
        return cold("no model is in service yet")
    try:
        bundle = model.bundle()
        if asset not in bundle.facts.parts:
            return cold(f"model {model.number} in service has another encoder")
        network = bundle.require(asset).config["encoder"]["name"]
        if network != config.encoder.name:
            return cold(f"model {model.number} in service is a {network}, not a {config.encoder.name}")
        source = bundle.folder(asset) / WEIGHTS
        bundle.check(source.relative_to(bundle.root).as_posix(), name=f"model {model.number}")
    except BadInput as damaged:
        return cold(str(damaged))
    with whole_file(copy) as part:
        shutil.copyfile(source, part)
    return Start(str(copy), f"starts from model {model.number}, which was in service", model.number)
