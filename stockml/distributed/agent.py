"""torchrun, ended with whoever has started it: `python -m stockml.training.agent <torchrun's arguments>`."""

from __future__ import annotations

import os
import sys

from stockml.distributed import environment
from stockml.processes import lifelines

if __name__ == "__main__":
    lifelines.follow(int(os.environ.pop(environment.LIFELINE)))  # workers end when their parent, this process, does
    from torch.distributed import run

    run.main(sys.argv[1:])
