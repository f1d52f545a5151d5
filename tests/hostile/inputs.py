"""Hostile run folders, sweep folders and data files, a row each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.hostile.makers import (
    DEEP,
    ESCAPES,
    FORMULA,
    Executes,
    all_of,
    bars,
    config,
    fifo,
    job,
    jobs,
    json_of,
    ledger,
    link,
    npz,
    packed_bomb,
    parquet_bomb,
    pickled,
    sparse,
    spreadsheet,
    text,
    unix_socket,
    zip_bomb,
    zip_of,
)
from tests.hostile.witnesses import Witness


@dataclass(frozen=True)
class Row:
    """Something hostile, and the command that meets it."""

    name: str
    spoil: Callable[[Path, Witness], None]
    """Makes it of a copy of a folder with a run, a sweep and a file of bars."""
    typed: str
    """The command, with COPY for the folder."""
    says: str = ""
    """What the line says by which it is refused; empty: it need not be."""


EVALUATE, REPORT, PREDICT = (f"task={task} run=COPY/run" for task in ("evaluate", "report", "predict"))
AGAIN = "-cp COPY/run/.hydra -cn config report=false hydra.run.dir=again"
SWEPT = "task=report run=COPY/sweep"
DOCTOR = "task=doctor data=csv stock.ticker=AAPL data.path=COPY/"
NPZ = "data=npz data.path=COPY/x.npz trainer.epochs=1 report=false"
OUT = "is a link out of the folder"
PIPE = "is no plain file"
MANY_ROWS = '<table:table-row table:number-rows-repeated="1000000">'
CELL = '<table:table-cell office:value-type="string" {}><text:p>{}</text:p></table:table-cell>'
MANY_CELLS = CELL.format('table:number-columns-repeated="16000"', "x")
RAGGED_JSON = json.dumps([{str(number): 1} for number in range(300_000)])
RAGGED_CSV = f"Date,Close{',' * 100_000}\n" + "\n" * 500_000 + "2020-01-01,1\n"

ROWS = [
    # Code: pickles, targets, names of modules, expressions.
    Row("best-pickled-by-torch", pickled("run/best.pt", by_torch=True), PREDICT, "more than tensors"),
    Row("best-pickle", pickled("run/best.pt", by_torch=False), PREDICT, "is not a readable checkpoint"),
    Row("last-pickled", pickled("run/last.pt", by_torch=True), "trainer.resume=COPY/run trainer.epochs=2 report=false"),
    Row("weights-pickled", pickled("run/best.pt", by_torch=True), f"{AGAIN} trainer.init_from=COPY/run", "more than"),
    Row("npz-pickled", pickled("x.npz", by_torch=False), NPZ, "not a readable npz"),
    Row("npz-objects", npz(X_train=np.array([Executes()] * 3, object)), NPZ, "pickled Python objects"),
    Row("npz-names-objects", npz(feature_names=np.array([Executes()] * 5, object)), NPZ, "feature_names"),
    Row("target-in-model", config(model___target_="os.system"), AGAIN, "model._target_"),
    Row("target-in-data", config(data___target_="pandas.read_pickle"), AGAIN, "data._target_"),
    Row("target-in-tracker", config(tracker={"_target_": "os.system"}), AGAIN),
    Row("callbacks", config(hydra={"callbacks": {"x": {"_target_": "os.mkdir", "path": "EXECUTED"}}}), AGAIN),
    Row("launcher", config(hydra={"launcher": {"_target_": "os.mkdir", "path": "EXECUTED"}}), f"-m {AGAIN} seed=1,2"),
    Row("model-of-a-module", config(model__name="os:mkdir"), AGAIN, "model.name=os:mkdir"),
    Row("source-of-a-module", config(data__source="os.path"), AGAIN, "data.source=os.path"),
    Row("task", config(task="fetch", run="ELSEWHERE"), AGAIN),
    Row("expression", config(features__columns={"x": "__import__('os').mkdir('EXECUTED')"}), AGAIN, "features.columns"),
    Row("target-expression", config(data__target="open('EXECUTED','w')"), AGAIN, "data.target"),
    Row("features-of-a-path", config(features__set="../../../COPY/run/.hydra/config"), AGAIN),
    Row("yaml-tag", text("run/.hydra/config.yaml", "seed: !!python/object/apply:os.mkdir [EXECUTED]"), AGAIN, "read"),
    # Interpolations.
    *(
        Row(f"resolver-{number}", config(stock__name=text), AGAIN)
        for number, text in enumerate(
            [
                "${oc.env:SECRET}",
                "${oc.decode:${oc.env:SECRET}}",
                "${hydra:runtime.cwd}",
                "${oc.create:{a:1}}",
                "${now:%Y}",
            ]
        )
    ),
    Row("resolver-in-overrides", text("run/.hydra/overrides.yaml", "- stock.name=${oc.env:SECRET}\n"), AGAIN),
    Row("resolver-in-a-number", config(seed="${oc.env:SECRET}"), AGAIN, "seed="),
    # Sizes.
    Row("aliases", text("run/.hydra/config.yaml", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"), AGAIN, "alias"),
    Row("overrides-aliases", text("run/.hydra/overrides.yaml", "- &a [x]\n- [*a,*a]\n"), EVALUATE),
    Row("config-deep", text("run/.hydra/config.yaml", f"a: {DEEP}"), AGAIN, "cannot be read"),
    *(
        Row(f"{name}-deep", text(f"run/{name}", DEEP), EVALUATE, f"{name}: cannot be read")
        for name in ("config.json", "metrics.json")
    ),
    Row("norm-stats-deep", text("run/norm_stats.json", DEEP), PREDICT),
    Row("tracker-deep", text("run/tracker.json", DEEP), "trainer.resume=COPY/run trainer.epochs=2", "cannot be read"),
    Row("sweep-deep", text("sweep/sweep.json", DEEP), SWEPT, "sweep.json: cannot be read"),
    Row("config-json-sparse", sparse("run/config.json", 10**12), EVALUATE, "is larger than"),
    Row("config-yaml-sparse", sparse("run/.hydra/config.yaml", 10**12), AGAIN, "is larger than"),
    Row("predictions-sparse", sparse("run/predictions.csv", 10**13), EVALUATE, "GB of memory"),
    Row("checkpoint-bomb", zip_bomb("run/best.pt"), PREDICT, "unpacks to more than"),
    *(
        Row(f"{ending}-bomb", packed_bomb(ending), f"{DOCTOR}bomb.csv.{ending}", "unpacks to more than")
        for ending in ("gz", "bz2", "xz", "zst")
    ),
    *(
        Row(f"{ending}-bomb", zip_bomb(f"x.{ending}", member), f"{DOCTOR}x.{ending}", "unpacks to more than")
        for ending, member in (("zip", "bars.csv"), ("xlsx", "xl/workbook.xml"), ("ods", "content.xml"))
    ),
    Row(
        "xlsx-corner",
        spreadsheet("xlsx", "</sheetData>", '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'),
        f"{DOCTOR}x.xlsx",
        "GB of memory",
    ),
    Row(
        "xlsx-wide",
        spreadsheet("xlsx", "</sheetData>", f'<row r="1048576">{"<c><v>1</v></c>" * 16384}</row></sheetData>'),
        f"{DOCTOR}x.xlsx",
        "GB of memory",
    ),
    Row(
        "ods-repeated",
        spreadsheet("ods", "<table:table-row>", MANY_ROWS + MANY_CELLS),
        f"{DOCTOR}x.ods",
        "GB of memory",
    ),
    Row(
        "ods-one-text",
        spreadsheet("ods", "<table:table-row>", MANY_ROWS + CELL.format("", "x" * 10**6)),
        f"{DOCTOR}x.ods",
        "GB of memory",
    ),
    Row("zip-several", zip_of("a.csv", "b.csv"), f"{DOCTOR}x.zip", "holds 2 files"),
    Row("zip-upwards", zip_of("../../elsewhere/kept"), f"{DOCTOR}x.zip"),
    Row("json-deep", text("x.json", DEEP), f"{DOCTOR}x.json", "holds no JSON records"),
    Row("json-ragged", text("x.json", RAGGED_JSON), f"{DOCTOR}x.json", "GB of memory"),
    Row("csv-ragged", text("bars.csv", RAGGED_CSV), f"{DOCTOR}bars.csv", "GB of memory"),
    Row("npz-bomb", zip_bomb("x.npz", "X_train.npy"), NPZ, "unpacks to more than"),
    Row("npz-lies", npz(header=(10**9, 10, 5)), NPZ, "holds less"),
    Row("parquet-bomb", parquet_bomb, f"{DOCTOR}bomb.parquet", "unpacks to more than"),
    Row("csv-sparse", sparse("bars.csv", 10**13), f"{DOCTOR}bars.csv", "GB of memory"),
    *(
        Row(f"{key}-{str(value)[:14]}", config(**{key: value}), AGAIN, key.split("__")[-1] if says is None else says)
        for key, value, says in (
            ("data__days", 10**12, None),
            ("data__days", "1" * 5000, None),
            ("data__folds", 10**12, None),
            ("data__window", 10**12, "too few"),
            ("seed", float("inf"), "seed"),
            ("trainer__ensemble", 10**12, None),
            ("trainer__epochs", 10**12, None),
            ("trainer__batch_size", 10**12, ""),
        )
    ),
    Row("hidden-dim", config(model={"name": "mlp", "hidden_dim": 10**9, "dropout": 0.1}), AGAIN, "GB of memory"),
    Row("layers", config(model={"name": "gru", "hidden_dim": 9, "layers": 10**9, "dropout": 0.1}), AGAIN, "layers"),
    # What is no plain file.
    Row("result-fifo", fifo("run/result.json"), EVALUATE, PIPE),
    Row("overrides-fifo", fifo("run/.hydra/overrides.yaml"), AGAIN),
    Row("tracker-fifo", fifo("run/tracker.json"), "trainer.resume=COPY/run trainer.epochs=2"),
    Row("best-fifo", fifo("run/best.pt"), PREDICT, PIPE),
    Row("best-socket", unix_socket("run/best.pt"), PREDICT, PIPE),
    Row("job-fifo", fifo("sweep/AAPL-seed_1/metrics.json"), SWEPT, PIPE),
    Row("bars-fifo", fifo("bars.csv"), f"{DOCTOR}bars.csv", "there is no such file"),
    Row("best-zero", link("run/best.pt", "/dev/zero"), PREDICT, OUT),
    Row("bars-zero", config(data={"source": "csv", "path": "/dev/zero"}), AGAIN),
    Row("bars-environment", link("bars.csv", "/proc/self/environ"), f"{DOCTOR}bars.csv", PIPE),
    Row("bars-memory", link("bars.csv", "/proc/self/mem"), f"{DOCTOR}bars.csv", PIPE),
    Row(
        "bars-of-an-address",
        lambda _copy, _: None,
        "task=doctor data=csv data.path=http://127.0.0.1:9/x",
        "no such",
    ),
    # Ways out of the folder.
    Row("metrics-link", link("run/metrics.json", "ELSEWHERE/kept"), EVALUATE, OUT),
    Row("log-link", link("run/train.log", "ELSEWHERE/log"), "trainer.resume=COPY/run trainer.epochs=2", OUT),
    Row("plots-link", link("run/plots", "ELSEWHERE"), REPORT, OUT),
    Row("page-link", link("run/report.html", "ELSEWHERE/page"), REPORT, OUT),
    Row("evaluations-link", link("run/evaluations", "ELSEWHERE"), f"{EVALUATE} data.seed=5", OUT),
    Row("hydra-link", link("run/.hydra/hydra.yaml", "ELSEWHERE/kept"), EVALUATE, OUT),
    Row("job-link", link("sweep/AAPL-seed_1", "ELSEWHERE"), SWEPT, OUT),
    Row("lock-link", link("sweep/.changing", "ELSEWHERE/kept"), SWEPT, OUT),
    Row("ledger-link", link("looks.jsonl", "ELSEWHERE/ledger"), f"{EVALUATE} data.seed=5 looks=on", "is a link"),
    *(
        Row(f"job-named-{number}", jobs(**{name: {"seed": 1}}), SWEPT, "is no name of a job|is not in this folder")
        for number, name in enumerate(["../../x", "/tmp/x", "..", ".", "a/b", "run/../../elsewhere", ESCAPES, "x\n"])
    ),
    Row("job-reproduced", jobs(**{"../run": {"seed": 1}}), "task=reproduce run=COPY/sweep", "is no name of a job"),
    Row("job-combined", jobs(**{"../run": {}}), "task=combine runs=[COPY/sweep]", "is no name of a job"),
    Row("jobs-a-list", json_of("sweep/sweep.json", jobs=["x"]), SWEPT, "lists no jobs"),
    Row(
        "member",
        json_of("run/config.json", members=[{"folder": "../sweep", "sha256": {}, "weight": 1}]),
        PREDICT,
        "not in",
    ),
    Row(
        "member-file",
        json_of("run/config.json", members=[{"folder": "x", "sha256": {"../../x": ""}, "weight": 1}]),
        PREDICT,
        "not in",
    ),
    Row("ticker-path", config(stock__ticker="../../x"), AGAIN, "is not a file name"),
    Row("context-path", config(data__context=["../../x"]), AGAIN, "data.context"),
    Row("cache-path", config(data__panel_cache="ELSEWHERE/x", data__cache_dir="ELSEWHERE/x"), AGAIN),
    Row("tracker-uri", config(tracker={"mlflow": True, "uri": "ADDRESS"}), AGAIN),
    Row("ledger-path", config(looks={"record": True, "path": "ELSEWHERE/x"}), AGAIN),
    Row(
        "ledger-of-metrics", json_of("run/metrics.json", looks={"ledger": "/dev/zero"}), "task=looks run=COPY/run", PIPE
    ),
    Row("ledger-deep", ledger, "task=looks looks.path=COPY/looks.jsonl", "line 1"),
    # What a terminal, a browser or a spreadsheet would do.
    Row("name-escapes", config(stock__name=ESCAPES), AGAIN),
    Row("ticker-escapes", config(stock__ticker=f"A{ESCAPES}"), AGAIN),
    Row("choice-escapes", config(model__name=ESCAPES), AGAIN, r"\\x1b"),
    Row("verdict-escapes", json_of("run/metrics.json", verdict=ESCAPES, best_baseline=ESCAPES), REPORT),
    Row("column-escapes", bars(header=f"Date,Open,High,Low,{ESCAPES},Volume"), f"{DOCTOR}bars.csv", r"\\x1b"),
    Row("cell-escapes", bars(ticker=f"A{ESCAPES}"), f"{DOCTOR}bars.csv data.tickers=[B,C]", r"\\x1b"),
    Row("verdict-html", json_of("run/metrics.json", verdict="<script>alert(1)</script>"), REPORT),
    Row("ticker-html", config(stock__ticker="<script>alert(1)<"), f"{AGAIN.replace('report=false', 'report=true')}"),
    Row(
        "sweep-escapes", all_of(job(error=ESCAPES, status=ESCAPES), jobs(**{"AAPL-seed_1": {ESCAPES: ESCAPES}})), SWEPT
    ),
    Row("sweep-formula", all_of(job(error=FORMULA), jobs(**{"AAPL-seed_1": {FORMULA: FORMULA}})), SWEPT),
    Row(
        "sweep-of-nonsense",
        all_of(
            json_of("sweep/AAPL-seed_1/result.json", status="running", pid=10**30),
            json_of("sweep/AAPL-seed_2/result.json", status="running", pid=-1),
            text("sweep/study.db", "no database"),
            text("sweep/search.json", DEEP),
        ),
        SWEPT,
    ),
]

SAMPLE = (
    *("best-pickled-by-torch", "npz-objects", "target-in-model", "model-of-a-module", "expression", "yaml-tag"),
    *("resolver-0", "aliases", "config.json-deep", "config-json-sparse", "gz-bomb"),
    *("xlsx-corner", "ods-repeated", "json-ragged", "hidden-dim"),
    *("best-fifo", "bars-environment", "metrics-link", "ledger-link", "job-named-0", "member-file"),
    *("ticker-path", "cell-escapes", "verdict-html", "sweep-escapes"),
)
"""The rows that the suite meets, some of each kind; the campaign meets all."""
