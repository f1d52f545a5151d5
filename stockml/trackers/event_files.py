"""tracker=tensorboard: event files, for `tensorboard --logdir outputs`."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stockml.config.values import show

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    from stockml.runs.folder import RunFolder
    from stockml.trackers.records import Begun, Ended, Point


class EventFiles:
    """The run's folder `tensorboard`, with an event file for each process that has trained or ended it.

    They are written by TensorBoard's own writer of records, but not in its thread, which prints a traceback where the
    disk is full.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._path = folder.path / "tensorboard"
        self._file: Path | None = None

    def begin(self, run: Begun) -> None:
        """Write the hyperparameters; of an earlier part of the run, what will be trained once more is taken back."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.plugins.hparams import summary_v2

        earlier = self._path.exists()
        asked = {**run.hyperparameters, "synthetic": run.synthetic}
        shown = {name: value if isinstance(value, (bool, int, float)) else show(value) for name, value in asked.items()}
        events = [Event(wall_time=time.time(), summary=summary_v2.hparams_pb(shown, trial_id=run.name))]
        first = 1 + min(map(len, run.past.values())) if earlier else 0
        if earlier:
            events.append(Event(wall_time=time.time(), step=first, session_log=SessionLog(status=SessionLog.START)))
        self._write([*events, *_events(point for point in run.known if point.step >= first)])

    def add(self, point: Point) -> None:
        """Write the figures of a step."""
        self._write(_events([point]))

    def end(self, run: Ended) -> None:
        """Write the final figures, the verdict and the pictures."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if not self._path.exists():  # nothing was begun
            return
        summaries = [_session_end(run.status), *(_text(name, text) for name, text in run.tags.items())]
        for path in run.pictures:
            content = path.read_bytes()
            width, height = struct.unpack(">II", content[16:24])  # of a PNG
            image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=content)
            summaries.append(Summary(value=[Summary.Value(tag=path.stem, image=image)]))
        step = max((point.step for point in run.points), default=0)
        ends = [Event(wall_time=time.time(), step=step, summary=one) for one in summaries]
        self._write([*_events(run.points), *ends])

    def close(self, seconds: float) -> str | None:  # noqa: ARG002  (as every tracker has it)
        """Where the event files are."""
        return f"tensorboard: tensorboard --logdir {self._path}"

    def trouble(self) -> str | None:
        """None: what is wrong is raised."""

    def _write(self, events: Iterable[Event]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        if self._file is None:
            self._path.mkdir(exist_ok=True)
            # TensorBoard reads the files of a folder in the order of their names, which begin with this and the time.
            name = f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
            self._file = self._path / name
            self._folder.written.add(self._file)
            events = [Event(wall_time=time.time(), file_version="brain.Event:2"), *events]
        with self._file.open("ab") as file:
            records = RecordWriter(file)
            for event in events:
                records.write(event.SerializeToString())


def _events(points: Iterable[Point]) -> Iterator[Event]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    for point in points:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        yield Event(wall_time=point.time, step=point.step, summary=Summary(value=values))


# TensorBoard has functions for these two as well, in modules that import all of TensorFlow.


def _text(name: str, text: str) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text import metadata

    about = metadata.create_summary_metadata(display_name=name, description="")
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
    return Summary(value=[Summary.Value(tag=name, metadata=about, tensor=tensor)])


def _session_end(status: str) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    code = api_pb2.STATUS_SUCCESS if status == "ok" else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=code, end_time_secs=time.time())
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    return Summary(
        value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)]
    )
