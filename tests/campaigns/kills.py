"""Commands killed at random moments, and commands whose disk is full: nothing is torn, and all can go on.

    python tests/campaigns/kills.py [--kills 500] [--folder kill_campaign] [COMMANDS, default all]
    python tests/campaigns/kills.py full [--steps 40] [--folder kill_campaign] [COMMANDS, default all]

kills: SIGKILL, SIGTERM or SIGINT at a moment that is uniform over the duration of the command. No file is torn, no
process is left, nothing temporary is left after the next command, and what goes on ends with the numbers of a command
that was not disturbed. full: the same where the disk, a tmpfs, has so little space or so few files left that each write
in turn fails; the command names the full disk. An hour each on two cores; it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.campaigns._fault_commands import (
    COMMANDS,
    Command,
    Forker,
    differences,
    fresh,
    go_on,
    in_own_mounts,
    leftovers,
    mount,
    numbers,
    only,
    prepared,
    steps,
    torn,
)

_ENDS = {signal.SIGKILL: (0, -9), signal.SIGTERM: (0, 143, -15), signal.SIGINT: (0, 130, -2)}


class Campaign:
    """Trials of commands, with a line of results each in a file."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder.resolve(), kind
        self.folder.mkdir(parents=True, exist_ok=True)
        self.forker = Forker(self.folder)
        self.base = prepared(self.folder, self.forker)
        self._results = self.folder / f"{kind}.jsonl"
        lines = self._results.read_text().splitlines() if self._results.exists() else []
        self.results: list[dict[str, Any]] = [json.loads(line) for line in lines]
        gc.freeze()

    def undisturbed(self, command: Command, folder: Path) -> tuple[dict[str, Any], float]:
        """What the command makes where nothing disturbs it, and the CPU seconds that it takes."""
        trial = fresh(self.base, folder)
        status, said = self.forker.run(command.typed, trial)
        assert status == 0, f"{command.name}: {said}"
        return numbers(trial, command.made), self.forker.cpu_seconds

    def is_done(self, name: str, trial: Any) -> bool:
        """Whether a trial was made before."""
        return any(row["command"] == name and row["trial"] == trial for row in self.results)

    def record(self, command: Command, trial: Any, outcome: str, faults: list[str], folder: Path, **facts: Any) -> None:
        """Write down a trial; what is wrong is kept to be looked at."""
        row = {"command": command.name, "trial": trial, "outcome": outcome, "faults": faults, **facts}
        self.results.append(row)
        with self._results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if faults:
            print(f"{command.name} {trial}: {outcome}: {'; '.join(faults)}"[:1500], flush=True)
            kept = self.folder / "kept" / f"{self.kind}_{command.name}_{trial}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)

    def end(self) -> int:
        """Print how the trials of each command ended; 1 where something is wrong."""
        for name in dict.fromkeys(row["command"] for row in self.results):
            rows = [row for row in self.results if row["command"] == name]
            outcomes = Counter("WRONG" if row["faults"] else row["outcome"] for row in rows)
            print(f"{name:<14}{len(rows):>5}  " + ", ".join(f"{n} {what}" for what, n in outcomes.most_common()))
        wrong = sum(bool(row["faults"]) for row in self.results)
        print(f"{len(self.results)} trials, {wrong or 'none'} wrong")
        return int(wrong > 0)


def kill(campaign: Campaign, command: Command, trials: int) -> None:
    """Kill a command so often, each time at a moment of its own, and go on with it."""
    folder = campaign.folder / "trial" / "here"
    folder.parent.mkdir(exist_ok=True)
    if all(campaign.is_done(command.name, trial) for trial in range(trials)):
        return
    expected, seconds = campaign.undisturbed(command, folder)
    for trial in range(trials):
        if campaign.is_done(command.name, trial):
            continue
        draw = random.Random(f"{command.name} {trial}")
        share, tick = draw.random(), 0.01 * draw.random()
        signum = draw.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (6, 1, 1))[0]
        before = fresh(campaign.base, folder)
        child = campaign.forker.start(command.typed, before)
        if (status := campaign.forker.wait(child, until=share * seconds)) is None:
            time.sleep(tick)  # what the kernel counts in
            os.kill(child, signum)
            status = campaign.forker.wait(child, 20)
        said = campaign.forker.said()
        faults = [f"orphan: {line}" for line in campaign.forker.orphans()]
        if status not in _ENDS[signum]:
            faults.append(f"status {status} after {signum.name}: {said[-300:]}")
        faults += torn(folder)
        kept = fresh(folder, folder.parent / "killed")
        outcome, wrong = go_on(command, folder, campaign.forker)
        faults += [wrong] if wrong else differences(expected, numbers(folder, command.made))
        faults += [*torn(folder), *(f"left: {path}" for path in leftovers(folder))]
        campaign.record(command, trial, outcome, faults, kept, signal=signum.name, share=round(share, 3))
        shutil.rmtree(kept)


def fill(campaign: Campaign, command: Command, trials: int) -> None:
    """Let each write of a command in turn meet a full disk, and go on once there is space."""
    disk = campaign.folder / "disk"
    folder = disk / "here"
    kept = campaign.folder / "trial"
    shutil.rmtree(kept, ignore_errors=True)
    mount(disk, "size=200m,nr_inodes=5000")
    try:
        expected, _ = campaign.undisturbed(command, folder)
        trial = fresh(campaign.base, folder)
        old = {path for path in trial.rglob("*") if path.is_file()}
        inodes = os.statvfs(disk).f_ffree
        assert campaign.forker.run(command.typed, trial)[0] == 0
        made = sorted((p.stat() for p in trial.rglob("*") if p.is_file() and p not in old), key=lambda s: s.st_mtime)
        files = inodes - os.statvfs(disk).f_ffree
        limits = [("KB", kb) for kb in steps([s.st_size for s in made], trials)]
        limits += [("files", n) for n in sorted({*range(min(files + 3, trials // 2)), *range(0, files + 3, 5)})]
        for unit, left in limits:
            name = f"{left} {unit}"
            if campaign.is_done(command.name, name):
                continue
            before = numbers(fresh(campaign.base, folder), command.made)
            now = os.statvfs(disk)
            used = (now.f_blocks - now.f_bavail) * now.f_frsize // 1024
            mount(
                disk,
                f"remount,size={used + left}k"
                if unit == "KB"
                else f"remount,nr_inodes={now.f_files - now.f_ffree + left}",
            )
            status, said = campaign.forker.run(command.typed, folder)
            mount(disk, "remount,size=200m,nr_inodes=5000")
            faults = [f"orphan: {line}" for line in campaign.forker.orphans()] + torn(folder)
            faults += differences(before, numbers(folder, command.made))
            if status == 0:
                faults += [f"ended with 0: {line}" for line in differences(expected, numbers(folder, command.made))]
            elif status is None or "a fault of stockml's own" in said or not _names_full_disk(said):
                faults.append(f"status {status}: {said[-500:]}")
            shutil.copytree(folder, kept, symlinks=True)
            outcome, wrong = go_on(command, folder, campaign.forker)
            if wrong or command.name != "search":  # a trial that has failed is replaced by another
                faults += [wrong] if wrong else differences(expected, numbers(folder, command.made))
            faults += [*torn(folder), *(f"left: {path}" for path in leftovers(folder))]
            outcome = f"ended {'well' if status == 0 else 'with a line'}, {outcome}"
            campaign.record(command, name, outcome, faults, kept, said=said[-300:], status=status)
            shutil.rmtree(kept)
    finally:
        os.system(f"umount -l {disk}")


def _names_full_disk(said: str) -> bool:
    return "No space left" in said or "disk is full" in said or "disk I/O error" in said


def main() -> int:
    """Run what is asked for; 1 where something is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=Path("kill_campaign"))
    asked = parser.parse_intermixed_args()
    full = asked.words[:1] == ["full"]
    if full:
        in_own_mounts()
    campaign = Campaign(asked.folder, "full" if full else "kills")
    shutil.rmtree(campaign.folder / "trial", ignore_errors=True)
    whole = sum(command.weight for command in COMMANDS)
    for command in only(asked.words[full:]):
        if full:
            fill(campaign, command, asked.steps)
        else:
            kill(campaign, command, round(asked.kills * command.weight / whole))
    return campaign.end()


if __name__ == "__main__":
    sys.exit(main())
