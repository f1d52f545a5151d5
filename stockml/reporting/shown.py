"""A figure that a notebook shows, whether pyplot is used there or not. Imports matplotlib."""

from __future__ import annotations

from matplotlib.figure import Figure

from stockml.reporting import drawing


class ShownFigure(Figure):
    """As matplotlib's."""

    def _repr_png_(self) -> bytes:
        with drawing.style():
            return drawing.png(self)
