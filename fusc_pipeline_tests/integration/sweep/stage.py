"""A delivered batch, its data root as it stands after each asset of an uninterrupted run, and runs on copies of it."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.partitions import scan_batches
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.operations.presets import left_out
from fusc_pipeline.scans.identity import create_key
from fusc_pipeline_tests.integration.sweep import tiny
from fusc_pipeline_tests.integration.sweep.compare import contents
from fusc_pipeline_tests.integration.sweep.zygote import ROOT, Ended, Run, Zygote

DEMO = f"{tiny.SETTINGS}leave_out: [{', '.join(left_out('demo'))}]\n"  # the same assets as `make demo`


@dataclass
class Stage:
    """Everything lies in `folder`: `before/<asset>` is the data root before that asset is made, `before/` with no name
    after the last one; `root` and `home` are those that runs work on."""

    folder: Path
    settings: str = tiny.SETTINGS
    zygote: Zygote = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root, self.home, self.preset = self.folder / "data", self.folder / "home", self.folder / "tiny.yaml"
        self.zygote = Zygote(self.folder)
        self.preset.write_text(self.settings)
        tiny.deliver(self.folder / "delivered")
        self._empty_home()
        self._empty_root()

    def _empty_root(self) -> None:
        start = self.folder / "start"
        inbox: Inbox = StoreResource(root=str(start)).inbox()
        inbox.private.mkdir(parents=True)
        create_key(inbox.private / "hmac.key")
        inbox.register(tiny.BATCH, self.folder / "delivered")

    def _empty_home(self) -> None:
        home = self.folder / "empty_home"
        home.mkdir()
        text = (ROOT / "dagster.yaml").read_text()
        (home / "dagster.yaml").write_text(text.replace("base_dir: .dagster_state", f"base_dir: {self.home}"))
        shutil.copytree(home, self.home)
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            instance.add_dynamic_partitions(scan_batches.name, [tiny.BATCH])
            instance.get_runs(limit=1)
        (self.home / ".opened").touch()
        shutil.rmtree(home)
        shutil.copytree(self.home, home)

    def reset(self, state: str = "") -> None:
        """Let root and history be as before this asset was made; "": as at the start."""
        for place in (self.root, self.home):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / "empty_home", self.home)
        copy_root(self.folder / "before" / state if state else self.folder / "start", self.root)

    def run(self, selection: str = "*", **how) -> Ended:
        """`fusc run` of the batch, on what stands."""
        return self.zygote.run(Run(str(self.root), str(self.home), str(self.preset), selection, **how))

    def rehearse(self) -> dict[str, dict[str, str]]:
        """Make every asset, one after the other, and keep the data root before each: asset → what the root holds once
        it is made."""
        self.reset()
        after = {}
        for asset in assets():
            copy_root(self.root, self.folder / "before" / asset)
            ended = self.run(only(asset))
            if ended.code:
                raise AssertionError(f"{asset} is not made at all:\n{ended.said}")
            after[asset] = contents(self.root)
        return after

    def close(self) -> None:
        self.zygote.close()


def assets() -> list[str]:
    """Every asset of the graph, upstream first."""
    graph = build_definitions(root="/nowhere").resolve_asset_graph()
    keys = [key for key in graph.toposorted_asset_keys if key in graph.materializable_asset_keys]
    return [key.to_user_string() for key in keys]


def only(asset: str) -> str:
    """The selection of one asset."""
    return f'key:"{asset}"'


def copy_root(source: Path, target: Path) -> None:
    """A copy that shares what nobody writes in place: all but locks and the private folder."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.is_dir():
            shared = entry.name not in ("locks", "private")
            shutil.copytree(entry, target / entry.name, copy_function=os.link if shared else shutil.copy2)
        else:
            shutil.copy2(entry, target / entry.name)
