"""A run as Python sees it: what its folder holds, read when it is asked for."""

from __future__ import annotations

import contextlib
import html
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.errors import UserError
from stockml.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from stockml.config.root import Config


class Result:
    """A run's folder, read as it is asked for; what cannot be read is a UserError that names the file.

    A path to whatever takes one, `predict` and the setting `trainer.resume` among them.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder: Path = Path(folder).expanduser().absolute()
        """The run folder."""
        self._run = RunFolder.existing(self.folder)
        self._facts = self._run.read_json("config.json")

    @property
    def status(self) -> str:
        """How the run stands: `ok`, `failed`, `interrupted`, `running` or `killed`; `unknown` without result.json."""
        return self._run.outcome() or "unknown"

    @property
    def synthetic(self) -> bool:
        """Whether its data are simulated."""
        return bool(self._facts["synthetic"])

    @cached_property
    def config(self) -> Config:
        """The config that it was trained by."""
        from stockml.tasks import run_metadata

        return run_metadata.saved_config(self._run)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json says: scores of the model, the baselines and, of simulated data, the oracle."""
        return self._run.read_json("metrics.json")

    @property
    def verdict(self) -> str:
        """Whether the model is better than no model, in words."""
        return str(self.metrics["verdict"])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Of every validation and test sample: sample, ticker, date, split, y_true, y_pred."""
        return self.table("predictions.csv")

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """Of the same samples, in the same order: what each baseline, and the oracle, forecast of them."""
        return self.table("baselines.csv")

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch; of a walk-forward run with a column `fold`, of an ensemble with a column `member`."""
        import pandas as pd

        tables = [self.table(name).assign(**part) for name, part in self._run.histories().items()]
        return pd.concat(tables, ignore_index=True) if tables else self.table("history.csv")  # which says what is wrong

    def table(self, name: str) -> pd.DataFrame:
        """A CSV file of the run folder, `stocks.csv` say: dates are dates, numbers what they were to the last digit."""
        import pandas as pd

        from stockml.reporting import predictions_file

        found = predictions_file.columns(self._run, name)
        return pd.DataFrame({column: _values(column, texts) for column, texts in found.items()})

    def plots(self) -> dict[str, Figure]:
        """The pictures of the run's page, by the name that their files have in plots/. UserError without matplotlib."""
        from stockml.reporting import page

        return {picture.name: picture.figure for picture in page.pictures(self._run)}

    def plot(self, name: str) -> Figure:
        """One of `plots`, `losses` or `cumulative` say. UserError where the run has none of that name."""
        from stockml.config.schema import nearest, one_of

        plots = self.plots()
        if name not in plots:
            raise UserError(f"plot {name!r}: must be {one_of(list(plots))}{nearest(name, plots)}")
        return plots[name]

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        told = [self._title, self.status]
        if self.status == "ok":
            from stockml.evaluation.metrics import metric

            best = self.metrics["best_baseline"]
            own, rival = (
                metric("mse").format(of["test"]["mse"]) for of in (self.metrics, self.metrics["baselines"][best])
            )
            told.append(f"test mse {own}, of {best}, the best baseline, {rival}")
        told += [_SYNTHETIC] if self.synthetic else []
        return f"<Result {'; '.join(told)}; {self.folder}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: scores on test, and the verdict."""
        mark = [f"<p><strong>{_SYNTHETIC}</strong>: made up, never to be taken for the market</p>"]
        heading = f"<p><strong>{html.escape(self._title)}</strong> {html.escape(str(self.folder))}</p>"
        return "\n".join([heading, *(mark if self.synthetic else []), *self._told_in_html()])

    def _told_in_html(self) -> list[str]:
        if self.status != "ok":
            return [f"<p>{self.status}</p>"]
        import pandas as pd

        from stockml.reporting import page

        scores = page.score_table(self.metrics, "test")
        table = pd.DataFrame(scores.rows, columns=list(scores.header)).to_html(index=False, border=0)
        notes = (f"{scores.caption}; * the best baseline on validation", self.verdict)
        return [table, *(f"<p>{html.escape(note)}</p>" for note in notes)]

    @property
    def _title(self) -> str:
        config = self._facts["config"]
        return f"{config['stock']['ticker']} · {config['model']['name']}"


def _values(column: str, texts: list[str]) -> Any:
    """What a column's cells stand for. Not by pandas: some versions of it lose the last digit, and a stock NA."""
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
