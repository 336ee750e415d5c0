"""`python -m fusc_pipeline_tests.integration.broken_root FOLDER`: a data root as commit 72ca6ab left one after a kill.

There a finished fit's weights were moved into the draft, so that a kill before it was published lost them; the next run
published the version without them and took it for fresh from then on. That commit's own code makes the root here, in
processes of its own, out of this repository's history; what came of it is read from plain files.
"""

import argparse
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAULTY = "72ca6ab51272f114be1a6ccdaa0f551d774c3734"
# Assets of several fits that it can be done to, in the order in which a run makes them.
FITS = ("deepmcat", "kmeans_simclr", "fusc_simclr", "fusc_simclr_selflabel")
DINO = ("dino_encoder", "dino_embeddings", "dino_neighbors", "kmeans_dino", "fusc_dino", "fusc_dino_selflabel")
CANDIDATE, IN_SERVICE = "candidate_model", "model_in_service"
LOST_FIT = {"n_clusters": 2, "seed": 0}  # the first, which the kill loses
WHOLE_FIT = {"n_clusters": 3, "seed": 0}
PATIENCE = 300
BETWEEN = "\f"  # what two commands of one process said
_WEIGHTS = re.compile(r"k\d+-seed\d+\.safetensors")
_CHILD = "from fusc_pipeline_tests.integration.broken_root import be; be()"


class NoHistory(Exception):
    """This checkout does not hold the faulty commit."""


@dataclass(frozen=True)
class Ended:
    """code: exit status, or minus the number of the signal that ended it; said: of several commands, with `BETWEEN`."""

    code: int
    said: str
    seconds: float


@dataclass(frozen=True)
class Version:
    """A version of an asset of several fits. fits: those in its table; lost: the weights of these that it lacks."""

    name: str
    data_version: str
    fits: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass
class BrokenRoot:
    """Everything lies in `folder`. assets: whose fits lose weights, each by a killed run; lost: how many, the first.

    Raises NoHistory where the faulty commit is not at hand.
    """

    folder: Path
    assets: Sequence[str] = ("fusc_simclr",)
    lost: int = 1

    def __post_init__(self) -> None:
        from fusc_pipeline_tests.integration.sweep import tiny

        self.folder.mkdir(parents=True, exist_ok=True)
        self.old, self.root, self.home = (self.folder / name for name in (FAULTY[:7], "data", "home"))
        self.batch, self.preset = tiny.BATCH, self.folder / "tiny.yaml"
        checkout(self.old)
        self.settings(WHOLE_FIT)
        self.home.mkdir()
        text = (ROOT / "dagster.yaml").read_text()
        (self.home / "dagster.yaml").write_text(text.replace("base_dir: .dagster_state", f"base_dir: {self.home}"))
        tiny.deliver(self.folder / "delivered")

    def settings(self, candidate: dict[str, int]) -> None:
        """Write the settings of every later run; candidate: the fit that is packed."""
        import yaml

        from fusc_pipeline_tests.integration.sweep import tiny

        found = yaml.safe_load(tiny.SETTINGS)
        config = {asset: entry["config"] for asset, entry in found["ops"].items()}
        for asset in {*FITS} & {*config} - {"fusc_simclr_selflabel"}:  # it continues every fit of fusc_simclr
            config[asset] |= {"n_clusters": [2, 3], "seeds": [0, 1]}
        config[CANDIDATE] |= candidate
        config["corpus"]["test_share"] = 0.5  # three subjects: the least that two models are compared on
        found["leave_out"] = [*DINO, *({"deepmcat"} - {*self.assets})]
        self.preset.write_text(yaml.safe_dump(found))

    # -- making it ----------------------------------------------------------------------------------------------

    def kill_old(self) -> Ended:
        """A new data root, and for each of the assets a run of the faulty code that is killed after some moves; the
        last of these runs."""
        ready = self.fusc(["init"], ["add-batch", f"{self.folder}/delivered", "--key", self.batch], source=self.old)
        if ready.code:
            raise AssertionError(f"there is no data root: {ready.said}")
        for asset in sorted(self.assets, key=FITS.index):
            ended = self.run(self.old, killed_in=asset)
            if ended.code != -signal.SIGKILL or self.version(asset):
                raise AssertionError(f"the run was not killed in {asset} but ended with {ended.code}:\n{ended.said}")
            marked = {mark.parent for mark in (self.root / "work" / asset / "_").glob("*/*.done/history.json")}
            moved = [folder for folder in marked if not any(folder.glob("*.safetensors"))]
            if len(moved) != self.lost:
                raise AssertionError(f"{len(moved)} of {len(marked)} finished fits of {asset} have lost their weights")
        return ended

    def publish_old(self) -> Ended:
        """The next run of the faulty code, which nobody disturbs: it publishes the gaps."""
        ended = self.run(self.old)
        for asset in self.assets:
            version = self.version(asset)
            if version is None or len(version.lost) != self.lost or len(version.fits) != 4:
                raise AssertionError(f"{asset} was not published with a gap: {version}\n{ended.said}")
        return ended

    def keep(self, name: str) -> None:
        """Keep how data root and run history are now, for `restore`."""
        for place in (self.root, self.home):
            shutil.copytree(place, self.folder / name / place.name)

    def restore(self, name: str) -> None:
        for place in (self.root, self.home):
            shutil.rmtree(place)
            shutil.copytree(self.folder / name / place.name, place)

    # -- running ------------------------------------------------------------------------------------------------

    def run(self, source: Path = ROOT, killed_in: str = "") -> Ended:
        """`fusc run` of the batch, by the code at `source`; killed_in: see `fusc`."""
        return self.fusc(self.command("run"), source=source, killed_in=killed_in)

    def command(self, verb: str, *options: str) -> list[str]:
        """A command about the batch, by the settings."""
        batch = ["--batch", self.batch] if verb == "run" else []  # the status of all is what matters
        return [verb, *batch, "--preset", str(self.preset), *options]

    def fusc(self, *commands: list[str], source: Path = ROOT, killed_in: str = "") -> Ended:
        """Commands of `fusc`, one after the other in one process, until one fails.

        killed_in: an asset; the process group is killed once the weights of `lost` of its fits were moved into a draft,
        when the next ones are about to be.
        """
        asked = {"source": str(source), "commands": commands, "killed_in": killed_in, "after": self.lost}
        environment = os.environ | {
            "DAGSTER_HOME": str(self.home),
            "FUSC_DATA": str(self.root),
            "FUSC_LOCKS": str(self.folder / "device_locks"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{source}{os.pathsep}{ROOT}",
        }
        for name in ("FUSC_PRESET", "FUSC_SERVED_MODEL"):
            environment.pop(name, None)
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(asked)],
            cwd=self.home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=PATIENCE)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Ended(process.returncode, said, round(time.monotonic() - began, 1))

    # -- what stands --------------------------------------------------------------------------------------------

    def place(self, asset: str) -> Path | None:
        """Folder of the version in use."""
        slot = self.root / "assets" / asset / "_"
        return slot / (slot / "current").read_text().strip() if (slot / "current").exists() else None

    def record(self, asset: str) -> dict[str, Any]:
        """What is known of the version in use; {}: there is none."""
        return _json(self.place(asset), "_fingerprint.json")

    def rows(self, asset: str, *columns: str) -> list[dict[str, Any]]:
        """Rows of the version in use; none where there is none."""
        import pyarrow.parquet as pq

        place = self.place(asset)
        return pq.read_table(place / "table.parquet", columns=[*columns]).to_pylist() if place else []

    def version(self, asset: str) -> Version | None:
        """The version in use of an asset of several fits."""
        place = self.place(asset)
        if place is None:
            return None
        fits = sorted({f"k{row['n_clusters']}-seed{row['seed']}" for row in self.rows(asset, "n_clusters", "seed")})
        lost = [f"{fit}.safetensors" for fit in fits if not (place / f"{fit}.safetensors").is_file()]
        return Version(place.name, self.record(asset)["data_version"], tuple(fits), tuple(lost))

    def history(self) -> list[dict[str, Any]]:
        """What was decided about models, the oldest first."""
        return self.rows(IN_SERVICE, "action", "number", "in_service", "why")

    def made_of(self, what: str, part: str = "fusc_simclr") -> str:
        """The data version of the part in the candidate or the model in service; empty: there is no such model."""
        folder = self.place(CANDIDATE)
        if what == IN_SERVICE:
            rows = self.history()
            folder = self.root / "models" / str(rows[-1]["in_service"]) if rows else None
        return _json(folder, "bundle.json").get("parts", {}).get(part, {}).get("data_version", "")

    def lines(self) -> list[str]:
        """What stands, in words."""

        def short(version: str) -> str:
            return version[:8] or "none"

        found = {asset: self.version(asset) for asset in FITS}
        return [
            *(
                f"{asset}: {short(version.data_version)}, {len(version.fits)} fits in its table, "
                f"lost: {', '.join(version.lost) or 'nothing'}"
                for asset, version in found.items()
                if version
            ),
            f"not made: {', '.join(asset for asset, version in found.items() if version is None) or 'none of these'}",
            *(f"fusc_simclr in {what}: {short(self.made_of(what))}" for what in (CANDIDATE, IN_SERVICE)),
            *(f"model {r['number']} {r['action']}, {r['in_service']} in service: {r['why']}" for r in self.history()),
            f"report.html: {'there' if (self.root / 'report.html').exists() else 'not there'}",
        ]


def checkout(folder: Path) -> None:
    """Put the package of the faulty commit into the folder."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", FAULTY, "fusc_pipeline"]
    try:
        archive = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as missing:
        raise NoHistory("git is not installed") from missing
    if archive.returncode:
        words = archive.stderr.decode(errors="replace").strip()
        raise NoHistory(f"this checkout's history does not hold commit {FAULTY[:7]} (a shallow clone?): {words}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def be() -> None:
    """The child of `BrokenRoot.fusc`."""
    import fusc_pipeline

    asked = json.loads(sys.argv[1])
    if Path(fusc_pipeline.__file__).parents[1] != Path(asked["source"]):
        raise AssertionError(f"{fusc_pipeline.__file__} is not the code that was asked for, {asked['source']}")
    try:
        from fusc_pipeline.cli.main import main
    except ModuleNotFoundError:  # of the release that is broken
        from fusc_pipeline.cli import main
    from fusc_pipeline_tests.integration.sweep.tiny import cheap

    cheap()
    if asked["killed_in"]:
        _kill_between_moves(asked["killed_in"], asked["after"])
    for number, command in enumerate(asked["commands"]):
        print(BETWEEN * bool(number), end="")
        if code := main(command):
            sys.exit(code)


def _kill_between_moves(asset: str, after: int) -> None:
    """Kill this process group when, after so many moves of weights into a draft of the asset, the next is to come."""
    met = 0

    def heard(event: str, args: tuple) -> None:
        nonlocal met
        if event != "os.rename":
            return
        target = Path(os.fsdecode(args[1]))
        if _WEIGHTS.fullmatch(target.name) and target.parts[-4:-2] == (asset, "_") and ".tmp-" in target.parts[-2]:
            met += 1
            if met > after:
                os.killpg(0, signal.SIGKILL)

    sys.addaudithook(heard)


def _json(folder: Path | None, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text()) if folder and (folder / name).exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="an empty one (default: a new one)")
    parser.add_argument("--assets", nargs="+", choices=FITS, default=["fusc_simclr"], help="whose fits lose weights")
    parser.add_argument("--lost", type=int, choices=(1, 2, 3), default=1, help="how many fits of four do (1)")
    parser.add_argument("--candidate", choices=("whole", "lost"), default="whole", help="fit that the candidate takes")
    parser.add_argument("--killed", action="store_true", help="leave out the faulty code's run after the kill")
    parser.add_argument("--heal", action="store_true", help="then status, run and status, by the code of this checkout")
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="fusc-broken-root-"))).absolute()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    try:
        broken = BrokenRoot(folder, arguments.assets, arguments.lost)
    except NoHistory as reason:
        print(f"nothing was made: {reason}", file=sys.stderr)
        return 1
    broken.settings(WHOLE_FIT if arguments.candidate == "whole" else LOST_FIT)

    def tell(what: str, ended: Ended) -> None:
        kept = [line for line in ended.said.splitlines() if not re.match(r" +(\d\d:|\S+ +cached)", line)]
        print(f"== {what}: exit {ended.code} after {ended.seconds} s", *kept, sep="\n")

    tell(f"{FAULTY[:7]}, killed", broken.kill_old())
    if not arguments.killed:
        tell(f"{FAULTY[:7]}, run again", broken.publish_old())
    print("== what stands before", *broken.lines(), sep="\n   ")
    if arguments.heal:
        tell("status", broken.fusc(broken.command("status")))
        tell("this checkout, run", broken.run())
        tell("status", broken.fusc(broken.command("status")))
        print("== what stands after", *broken.lines(), sep="\n   ")
    print(f"== in {folder}: FUSC_DATA={broken.root} DAGSTER_HOME={broken.home}, settings {broken.preset}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
