"""The run that the READMEs show: what it prints, and a picture of its page.

    python tests/campaigns/example_run.py

Runs `python run.py stock=AAPL`, writes what it prints into stockml/reporting/README.md (some epochs and baselines are
left out there), and saves a picture of its page as stockml/reporting/report.png. The picture needs Chromium:
STOCKML_CHROMIUM names it, by default the `chromium` of the PATH.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from PIL import Image

from tests.markdown import ROOT, write_table

README = ROOT / "stockml/reporting/README.md"
PICTURE = ROOT / "stockml/reporting/report.png"
RUN = "outputs/AAPL_20240115_123456"
PAGE_PIXELS = 1000, 920
PICTURE_WIDTH, COLOURS, MOST_BYTES = 800, 64, 120_000
_LEFT_OUT = "zero", "train_mean", "expanding_mean", "last_return", "always_up"


def printed(folder: Path) -> str:
    """What the run prints, its folder named as a run of any user is."""
    command = [sys.executable, str(ROOT / "run.py"), "stock=AAPL", f"hydra.run.dir={RUN}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout.replace(str(folder / RUN), RUN)


def shortened(text: str) -> str:
    """The text without the epochs between the first and the last, and with three forecasts of the table."""
    lines = text.rstrip().splitlines()
    epochs = [number for number, line in enumerate(lines) if line.startswith("epoch ")]
    baselines = [n for n, line in enumerate(lines) if re.match(rf" ({'|'.join(_LEFT_OUT)}) ", line)]
    dropped = {*epochs[1:-1], *baselines, *(number + 1 for number in baselines)}
    gaps = {epochs[1], *baselines[:1]}
    kept = ("…" if n in gaps else line for n, line in enumerate(lines) if n in gaps or n not in dropped)
    return "\n".join(line.rstrip() for line in kept)


def picture(page: Path, chromium: str) -> bytes:
    """The top of a page as a small PNG."""
    shot = page.with_suffix(".png")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = ",".join(map(str, PAGE_PIXELS))
    command = [chromium, *options, f"--screenshot={shot}", f"--window-size={size}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    width, height = PAGE_PIXELS
    with Image.open(shot) as image:
        small = image.convert("RGB").resize((PICTURE_WIDTH, height * PICTURE_WIDTH // width), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.quantize(COLOURS).save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> int:
    """Make the run, and write both; 1 where there is no Chromium or the picture is too large."""
    chromium = os.environ.get("STOCKML_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("no chromium here; STOCKML_CHROMIUM names it", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = printed(folder)
        content = picture(folder / RUN / "report.html", chromium)
    if len(content) > MOST_BYTES:
        print(f"the picture has {len(content):,} bytes, more than {MOST_BYTES:,}", file=sys.stderr)
        return 1
    write_table(README, "run", f"```text\n$ python run.py stock=AAPL\n{shortened(text)}\n```")
    PICTURE.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
