"""torchrun, ended with the process that started it: `python -m stockml.distributed.agent <torchrun's arguments>`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from stockml.distributed import environment
from stockml.processes import lifelines

NO_MEETING = "no_meeting.txt"
"""File in the folder of failures: what torch says where the nodes have not met."""

if __name__ == "__main__":
    lifelines.follow(int(os.environ.pop(environment.LIFELINE)))  # workers end when their parent, this process, does
    lifelines.die_with_parent()
    from torch.distributed import DistNetworkError, DistStoreError, run

    try:
        run.main(sys.argv[1:])
    except (DistNetworkError, DistStoreError) as error:
        (Path(os.environ[environment.FAILURES]) / NO_MEETING).write_text(" ".join(str(error).split()))
        raise
