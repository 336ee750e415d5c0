"""Which process is meant, on which machine and since which boot; whether it still runs; dying with one's parent.

No wall clock is read: a process is told by its number, its start in the kernel's ticks since boot, and the boot's id,
so that a clock that jumps confuses nobody. Linux only; elsewhere processes count as running.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProcessMark:
    """host: its name; boot: id of the boot; pid; started: kernel ticks between boot and the process's start."""

    host: str
    boot: str
    pid: int
    started: int

    @classmethod
    def of(cls, pid: int | None = None) -> "ProcessMark":
        """The mark of a running process of this machine, of this one by default."""
        pid = os.getpid() if pid is None else pid
        return cls(socket.gethostname(), boot_id(), pid, start_ticks(pid) or 0)

    @classmethod
    def read(cls, text: str) -> "ProcessMark | None":
        """The mark that `text` holds, or None when it holds none."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def text(self) -> str:
        """The mark as text, for `read`."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine: only then can its end be known."""
        return self.host == socket.gethostname()

    @property
    def gone(self) -> bool:
        """Whether the process surely ended. False where that cannot be known (another machine)."""
        if not self.here:
            return False
        return self.boot != boot_id() or start_ticks(self.pid) != self.started


def boot_id() -> str:
    """A random id that the kernel draws at each boot; empty where it does not."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """Kernel ticks from boot to the start of a process; None when there is no such process (a zombie has ended)."""
    try:
        # The name in brackets may hold spaces and brackets of its own; what follows the last one has fixed places.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def command_of(pid: int) -> str:
    """A process's command line; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def die_with_parent(signal_number: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent dies, so that no orphan trains on.

    Checkpoints are atomic, so the hardest signal is safe. parent: the process that started this one, where it is told:
    it may be gone before this one asks. Does nothing where the kernel has no such thing.
    """
    parent, libc = parent or os.getppid(), ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl"):
        return
    if libc.prctl(_PR_SET_PDEATHSIG, signal_number) == 0 and os.getppid() != parent:
        os.kill(os.getpid(), signal_number)  # the parent died while we asked


def run_worker() -> int:
    """The process that executes this Dagster run: the parent where this process is one step's, else this one."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent is not None and parent.pid is not None and is_step_process() else os.getpid()


def is_step_process() -> bool:
    """Whether Dagster's multiprocess executor started this process for one step, and the run's process still lives.

    A run that `dagster dev` launches is a child of the code server; a step's process is a child of the run's. The code
    server is told by its command line (`dagster api grpc`, `dagster code-server`).
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or not parent.is_alive():
        return False
    command = command_of(parent.pid)
    return not (" grpc" in command or "code-server" in command)


def is_orphan() -> bool:
    """Whether the process that made this one has ended: a killed code server's run, or a killed run's step."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()
