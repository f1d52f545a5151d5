"""tracker=tensorboard: event files in the run folder, for `tensorboard --logdir outputs`."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.config.values import show
from stockml.trackers.records import Outcome, Point, Start

if TYPE_CHECKING:
    from stockml.runs.folder import RunFolder
    from stockml.trackers.settings import TrackerConfig


class TensorBoard:
    """The folder `tensorboard` of the run folder, with an event file for each process that logs.

    Events are written one by one: the thread of TensorBoard's own writer prints a traceback when the disk is full, and
    the functions that make text or images for it import torch or TensorFlow.
    """

    def __init__(self, folder: RunFolder, settings: TrackerConfig) -> None:  # noqa: ARG002  (as every tracker has it)
        self._folder = folder
        self._path = folder.path / "tensorboard"
        self._file: Path | None = None
        self.place = f"tensorboard --logdir {self._path}"

    def start(self, run: Start) -> None:
        """Log the epochs that are known and not logged; take back what will be logged again."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        first = 0
        if self._path.exists() and run.next_step is not None:
            first = run.next_step
            self._write(first, session_log=SessionLog(status=SessionLog.START))
        self.log([point for point in run.known if point.step >= first])

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Store the hyperparameters for TensorBoard's tab HPARAMS."""
        from tensorboard.plugins.hparams import summary_v2

        shown = {k: v if isinstance(v, (bool, int, float)) else show(v) for k, v in values.items()}
        self._write(0, summary=summary_v2.hparams_pb(shown, trial_id=self._folder.path.name))

    def log(self, points: Sequence[Point]) -> None:
        """Log scalars."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for point in points:
            scalars = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
            self._write(point.step, point.time, summary=Summary(value=scalars))

    def finish(self, outcome: Outcome) -> None:
        """Log how the run ended, the verdict and the plots."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
        from tensorboard.plugins.text import metadata as text_metadata

        code = api_pb2.STATUS_SUCCESS if outcome.status == "ok" else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=code, end_time_secs=time.time())
        of_end = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
        values = [Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=of_end, tensor=metadata.NULL_TENSOR)]
        for name, text in outcome.tags.items():
            tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
            of_text = text_metadata.create_summary_metadata(display_name=name, description="")
            values.append(Summary.Value(tag=name, metadata=of_text, tensor=tensor))
        for path in sorted(self._folder.path.glob("plots/*.png")):
            content = path.read_bytes()
            width, height = struct.unpack(">II", content[16:24])  # of a PNG
            image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=content)
            values.append(Summary.Value(tag=path.stem, image=image))
        step = max((point.step for point in outcome.points), default=0)
        for value in values:
            self._write(step, summary=Summary(value=[value]))

    def _write(self, step: int, seconds: float | None = None, **content: Any) -> None:
        """Append an event: its step, its time in seconds since the epoch, and what it holds."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        events = [Event(wall_time=seconds or time.time(), step=step, **content)]
        if self._file is None:
            self._path.mkdir(exist_ok=True)
            # TensorBoard reads the files of a folder in the order of their names.
            name = f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
            self._file = self._path / name
            self._folder.written.add(self._file)
            events.insert(0, Event(wall_time=time.time(), file_version="brain.Event:2"))
        with self._file.open("ab") as file:
            for event in events:
                RecordWriter(file).write(event.SerializeToString())
