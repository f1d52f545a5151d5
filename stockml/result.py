"""The result of a run, for Python: the content of its folder, read when it is needed."""

from __future__ import annotations

import contextlib
import html
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.runs.members import model_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from stockml.config.root import Config


class Result:
    """A run folder, read when it is needed; a file that cannot be read is a UserError that names it.

    It can be used as a path, for `predict` and the setting `trainer.resume` too.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder: Path = Path(folder).expanduser().absolute()
        """The run folder."""
        self._run = RunFolder.existing(self.folder)
        self._metadata = self._run.read_json("config.json")

    @property
    def status(self) -> str:
        """The state of the run: `ok`, `failed`, `interrupted`, `running` or `killed`; `unknown` without result.json."""
        return self._run.outcome() or "unknown"

    @property
    def synthetic(self) -> bool:
        """Whether its data are simulated."""
        return bool(self._metadata["synthetic"])

    @cached_property
    def config(self) -> Config:
        """The config that it was trained with."""
        from stockml.tasks import run_metadata

        return run_metadata.saved_config(self._run)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: scores of the model, the baselines and, for simulated data, the oracle."""
        return self._run.read_json("metrics.json")

    @property
    def verdict(self) -> str:
        """Whether the model is better than no model, in words."""
        return str(self.metrics["verdict"])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """A row for each validation and test sample: sample, ticker, date, split, y_true, y_pred, next_return (the
        simple return to the next bar), and on test lower_95, upper_95 and so on for each level of `intervals`."""
        return self.table("predictions.csv")

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """The forecasts of each baseline, and of the oracle, for the same samples in the same order."""
        return self.table("baselines.csv")

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row for each epoch; with a column `fold` for a walk-forward run, and `member` for an ensemble."""
        import pandas as pd

        tables = [self.table(name).assign(**part) for name, part in self._run.histories().items()]
        return pd.concat(tables, ignore_index=True) if tables else self.table("history.csv")  # raises the error

    def table(self, name: str) -> pd.DataFrame:
        """A CSV file of the run folder, such as `stocks.csv`, with dates as dates and every digit of the numbers."""
        import pandas as pd

        from stockml.reporting import predictions_file

        found = predictions_file.read_columns(self._run, name)
        return pd.DataFrame({column: _values(column, texts) for column, texts in found.items()})

    def plots(self) -> dict[str, Figure]:
        """The plots of the run's page, by the names of their files in plots/. UserError without matplotlib."""
        from stockml.reporting import run_page

        return {plot.name: plot.figure for plot in run_page.plots(self._run)}

    def plot(self, name: str) -> Figure:
        """One of `plots`, such as `losses` or `cumulative`. UserError where the run has none of that name."""
        from stockml.config.schema import nearest, one_of

        plots = self.plots()
        if name not in plots:
            raise UserError(f"plot {name!r}: must be {one_of(list(plots))}{nearest(name, plots)}")
        return plots[name]

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        parts = [self._title, self.status]
        if self.status == "ok" and "test" not in self.metrics:
            parts.append(self.verdict)
        elif self.status == "ok":
            from stockml.evaluation.metrics import deciding_loss, metric

            best, loss = self.metrics["best_baseline"], deciding_loss(self.metrics["test"])
            own, rival = (
                metric(loss).format(of["test"][loss]) for of in (self.metrics, self.metrics["baselines"][best])
            )
            parts.append(f"test {loss} {own} ({best}, the best baseline: {rival})")
        parts += [_SYNTHETIC] if self.synthetic else []
        return f"<Result {'; '.join(parts)}; {self.folder}>"

    def _repr_html_(self) -> str:
        """The scores on test and the verdict, for a notebook."""
        mark = [f"<p><strong>{_SYNTHETIC}</strong>, no market prices</p>"]
        heading = f"<p><strong>{html.escape(self._title)}</strong> {html.escape(str(self.folder))}</p>"
        return "\n".join([heading, *(mark if self.synthetic else []), *self._scores_as_html()])

    def _scores_as_html(self) -> list[str]:
        if self.status != "ok":
            return [f"<p>{self.status}</p>"]
        import pandas as pd

        from stockml.reporting import score_sections

        scores = score_sections.score_table(self.metrics, "test" if "test" in self.metrics else "validation")
        table = pd.DataFrame(scores.rows, columns=list(scores.header)).to_html(index=False, border=0)
        notes = (f"{scores.caption}; * the best baseline on validation", self.verdict)
        return [table, *(f"<p>{html.escape(note)}</p>" for note in notes)]

    @property
    def _title(self) -> str:
        return f"{self._metadata['config']['stock']['ticker']} · {model_name(self._metadata)}"


def _values(column: str, texts: list[str]) -> Any:
    """The values of a column. Not read by pandas, of which some versions lose the last digit, and the ticker NA."""
    if column in ("date", "target_date"):
        import pandas as pd

        return pd.to_datetime(pd.Series(texts))
    if column == "ticker":
        return texts
    if column == "synthetic":
        return [text == "true" for text in texts]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return [kind(text or "nan") for text in texts]
    return texts


_SYNTHETIC = "SIMULATED DATA (synthetic: true)"
