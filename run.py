"""`python run.py`: the same as the installed command `stockml`."""

from __future__ import annotations

from stockml.cli import program

if __name__ == "__main__":
    program()
