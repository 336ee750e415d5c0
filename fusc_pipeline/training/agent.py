"""torchrun that dies with whoever started it: `python -m fusc_pipeline.training.agent <torchrun's arguments>`.

Started bare, torchrun and its ranks outlive a step that is killed, and Dagster's next attempt trains beside them.
"""

import os

from fusc_pipeline.host.processes import die_with_parent
from fusc_pipeline.training.job import PARENT


def main() -> None:
    die_with_parent(parent=int(os.environ[PARENT]) if PARENT in os.environ else None)
    os.environ[PARENT] = str(os.getpid())
    from torch.distributed.run import main as torchrun

    torchrun()


if __name__ == "__main__":
    main()
