"""Folders that the environment names, and why one cannot be used: told before anything is made in it."""

import os
from pathlib import Path

from fusc_pipeline.base.errors import BadSetting

DATA = "FUSC_DATA"
DEFAULT_DATA = "data"


def expanded(given: str) -> Path:
    """A path as a shell would read it: a leading `~` or `~user` stands for a home folder; an unknown user's stays."""
    return Path(os.path.expanduser(given))


def named_folder(variable: str, given: str) -> Path:
    """The absolute folder that the environment variable names. Raises BadSetting for a `~user` whom nobody knows, and
    for an address."""
    if "://" in given:
        raise BadSetting(f"{variable}={given}: only a local folder is supported so far; give a path")
    path = expanded(given)
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise BadSetting(f"{variable}={given}: there is no home folder {path.parts[0]!r}; give the whole path")
    return path.absolute()


def why_unusable(folder: Path, write: bool) -> str | None:
    """Why the folder cannot be used, or made where it is missing; None where it can. Nothing is made to find out.

    write: whether it has to be writable, not only readable.
    """
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path("/"))
    try:
        if not there.is_dir():
            kind = "a link to nothing" if there.is_symlink() and not there.exists() else "a file, not a folder"
            return f"{there} is {kind}" if there != folder else f"it is {kind}"
        next(folder.iterdir() if there == folder else iter(()), None)
    except OSError as error:
        return f"{there} cannot be opened ({error.strerror})"
    if not write or os.access(there, os.W_OK | os.X_OK):
        return None
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return f"{there} is on a file system that is mounted read-only"
    return f"this user may not write in {there}"


def data_root(root: str = "") -> str:
    """The data root: the one given, else the environment variable FUSC_DATA, else `./data`. Raises BadSetting as
    `named_folder` does."""
    if root:
        return str(named_folder("data root", root))
    given = os.environ.get(DATA, "")
    return str(named_folder(DATA, given)) if given else DEFAULT_DATA


def check_data_root(write: bool, make: bool = False) -> None:
    """Raise BadSetting, with the variable, the fault and what to do, where the data root cannot be used.

    make: whether it may be missing though FUSC_DATA names it, as for a verb that makes it.
    """
    given, root = os.environ.get(DATA, ""), Path(data_root()).absolute()
    name = f"{DATA}={given}" if given else f"the data root {root} ({DATA} is not set)"
    for folder in (root, root / "private", root / "assets"):
        if why := why_unusable(folder, write):
            # The message already names the folder where that is not the root itself.
            raise BadSetting(
                f"{name}: {why}; set {DATA} to a folder that {'this user may write' if write else 'can be read'}"
            )
    if given and not make and not root.is_dir():
        raise BadSetting(f"{name}: there is no such folder; correct the variable, or make the data root: fusc init")
