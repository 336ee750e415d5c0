"""What checks said of one version of an output: kept beside it, so that a check runs once per version and a later run
does not build on a version that failed. Which checks there are is said in `defs`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VERDICTS = "_checks.json"


@dataclass(frozen=True)
class Verdict:
    """What one check said of one version."""

    check: str
    code_version: str  # of the check
    passed: bool
    blocks: bool  # whether a failure keeps later runs from building on this version
    severity: str  # ERROR or WARN
    description: str
    metadata: dict[str, Any] = field(default_factory=dict)


def read_verdicts(folder: Path) -> dict[str, Verdict]:
    """Verdicts on the version in this folder, by check; empty when none was kept, or when the file is damaged."""
    try:
        rows = json.loads((folder / VERDICTS).read_text())
        return {row["check"]: Verdict(**row) for row in rows}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def verdicts_text(verdicts: dict[str, Verdict]) -> str:
    """The content of the file for these verdicts."""
    return json.dumps([asdict(verdicts[name]) for name in sorted(verdicts)], indent=1, sort_keys=True)
