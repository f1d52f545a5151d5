"""`python run.py`: the same as the installed command `stockml`."""

from __future__ import annotations

import sys

from stockml.cli import main

if __name__ == "__main__":
    sys.exit(main())
