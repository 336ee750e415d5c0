"""A throw-away PostgreSQL cluster in a folder, reached by a socket only; skips where PostgreSQL is not installed."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def binaries() -> Path | None:
    """The folder with initdb and pg_ctl: of the newest version of Debian's packages, else that on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """The URL of an empty database `fusc`. As root the server runs as `postgres`: it refuses to run as root."""
    place = binaries()
    if place is None or importlib.util.find_spec("dagster_postgres") is None:
        pytest.skip("needs PostgreSQL (apt-get install postgresql) and the extra `postgres` of this package")
    folder = Path(tempfile.mkdtemp(prefix="fusc-pg-", dir="/tmp"))  # a socket's path must be short
    before: list[str] = []
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL refuses to run as root and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        before = ["runuser", "-u", "postgres", "--"]

    def call(name: str, *arguments: str) -> None:
        done = subprocess.run(
            [*before, str(place / name), *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"

    data = folder / "data"
    try:
        call("initdb", "-D", str(data), "-A", "trust", "-U", "fusc", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c max_connections=100"
        # The server inherits no pipe, or the call would wait for its end.
        call("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        call("createdb", "-h", str(folder), "-U", "fusc", "fusc")
        yield f"postgresql+psycopg2://fusc@/fusc?host={folder}"
    finally:
        subprocess.run(
            [*before, str(place / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"],
            check=False,
            cwd="/tmp",
            capture_output=True,
        )
        shutil.rmtree(folder, ignore_errors=True)
