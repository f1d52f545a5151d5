"""The names that exports give to the columns of daily bars."""

from __future__ import annotations

import re
import unicodedata

# As copied from Yahoo's page, with the text of the tooltips.
_SPLITS = "close close price adjusted for splits"
_DIVIDENDS = "adj close adjusted close price adjusted for splits and dividend and or capital gain distributions"
# The names of each role, words only; the earliest is taken if a table has several of them.
ENGLISH = {
    "date": ("date", "trade date", "trading date", "datetime", "date time", "timestamp", "time", "day", "index"),
    "open": ("open", "open price", "px open", "opening price"),
    "high": ("high", "high price", "px high", "day high"),
    "low": ("low", "low price", "px low", "day low"),
    "close": (
        "close",
        _SPLITS,
        "close last",
        "close price",
        "closing price",
        "closing",
        "last",
        "last price",
        "px last",
        "price",
    ),
    "adj close": (
        "adj close",
        _DIVIDENDS,
        "adjusted close",
        "close adj",
        "adj close price",
        "adjusted",
        "adj price",
        "adjustment close",
    ),
    "adj volume": ("adj volume", "adjusted volume", "volume adj", "volume adjusted", "adjustment volume"),
    "volume": (
        "volume",
        "vol",
        "px volume",
        "share volume",
        "shares traded",
        "traded volume",
        "trading volume",
        "trade volume",
        "total volume",
        "total traded quantity",
    ),
    "ticker": (
        "ticker",
        "symbol",
        "tic",
        "stock symbol",
        "ticker symbol",
        "code",
        "stock",
        "instrument",
        "secid",
        "name",
    ),
}
# Of exchanges and vendors (NSE, BSE, Binance, Dukascopy, MetaTrader, Polygon, Euronext, Refinitiv, FRED, Databento,
# CRSP, Compustat), then German, Spanish, French, Portuguese, Italian, Polish, Dutch, Swedish, Danish, Norwegian,
# Turkish, Russian, Chinese, Japanese and Korean.
_OTHERS = {
    "date": "gmt time|local time|utc time|open time|window start|traddt|date1|dtyyyymmdd|unix|exchange date|"
    "observation date|ts event|datadate|datum|tag|handelstag|fecha|date de cotation|data|dato|tarih|дата|日期|"
    "交易日期|时间|日時|日付|日付け|날짜|일자",
    "open": "opnpric|openprc|prcod|eröffn|öffnen|eröffnung|eröffnungskurs|erster|offen|apertura|abrir|abertura|ouv|"
    "ouverture|otwarcie|kurs otwarcia|opening|prezzo di apertura|preço de abertura|öppen|öppning|åbning|åpning|açılış|"
    "откр|открытие|开盘|开盘价|開盤價|今开|始値|시가",
    "high": "hghpric|askhi|prchd|hoch|tageshoch|höchst|höchstkurs|max|máx|máximo|máxima|plus haut|haut|élevé|massimo|"
    "prezzo massimo|alto|preço máximo|najwyższy|kurs max|hoog|högst|høj|høy|yüksek|макс|максимум|最高|最高价|最高價|"
    "高|高値|고가",
    "low": "lwpric|bidlo|prcld|tief|tagestief|tiefst|tiefstkurs|min|mín|mínimo|mínima|plus bas|bas|faible|minimo|"
    "prezzo minimo|bajo|basso|baixo|preço mínimo|najniższy|kurs min|laag|lägst|lav|düşük|мин|минимум|最低|最低价|"
    "最低價|低|安値|저가",
    "close": "clspric|prc|prccd|zuletzt|schluss|schließen|schlusskurs|letzter|último|cierre|dernier|clôture|clot|"
    "fechamento|fecho|ultimo|preço de fechamento|prezzo di chiusura|chiusura|zamknięcie|kurs zamknięcia|ostatnio|"
    "laatste|slot|slotkoers|senaste|stängning|seneste|siste|lukkekurs|şimdi|kapanış|цена|закрытие|收盘|收盘价|收盤價|"
    "终值|終値|종가",
    "adj close": "adj schluss|schluss bereinigt|cierre ajus|cierre ajustado|clôture ajust|clôture ajustée|"
    "chiusura aggiustata|fechamento ajustado|复权收盘价|調整後終値|終値調整|終値調整値",
    "adj volume": "",
    "volume": "ttltradgvol|tottrdqty|ttl trd qnty|no of shares|no of shrs|number of shares|tickvol|tick volume|cshtrd|"
    "stück|stücke|stuecke|volumen|volumi|wolumen|wol|volym|quantidade negociada|hac|hacim|объем|成交量|交易量|"
    "成交股数|成交股數|出来高|거래량",
    "ticker": "security|security id|security code|stock code|stock id|stock name|instrument id|instrument code|asset|"
    "sid|permno|gvkey|isin|ric|cusip|sedol|figi|scrip|scrip code|unique id|item id|coin|company|company name|tckrsymb|"
    "ts code|股票代码|证券代码|代码|símbolo|nazwa",
}
CLOCKS = ("time", "uhrzeit", "zeit", "hora", "heure", "ora", "czas", "godzina", "tijd", "saat", "время", "时间", "時刻")
"""The time of a bar, in a column beside its day; that of its date only where no other column is one."""
SURE_TICKERS = ("ticker", "symbol", "tic", "stock symbol", "tckrsymb")
_LETTERS = {"date": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}


def words(name: str) -> str:
    """The words of a name in lower case: `Adj. Close**` and `ADJ_CLOSE` are `adj close`; of `%` the sign."""
    name = unicodedata.normalize("NFKC", name).lower().strip()
    name = re.sub(r"^(\d+\.\s|unnamed: \d+(_level_\d+)?$)", "", name)
    name = re.sub(r"(?<=\w)\s*\(.*\)$", "", name)  # a unit, as in Close (USD)
    return re.sub(r"[\W_]+", " ", name).strip() or name


def letters(name: str) -> str:
    """The letters and digits of a name: `adjClose` and `Adj Close` are `adjclose`."""
    return words(name).replace(" ", "")


def folded(name: str) -> str:
    """The letters and digits of a name, without accents: `Máximo` is `maximo`."""
    apart = unicodedata.normalize("NFKD", letters(name)).replace("ł", "l").replace("ı", "i")
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


FOREIGN = {role: tuple(filter(None, names.split("|"))) for role, names in _OTHERS.items()}
# Only the dates may have an empty name, an index that was saved without one.
_KNOWN = {role: tuple(dict.fromkeys(map(folded, (*ENGLISH[role], *FOREIGN[role])))) for role in ENGLISH}
_KNOWN["date"] = (*sorted(_KNOWN["date"], key=lambda name: name in map(folded, CLOCKS)), "", "week", "month")
_ANY = frozenset(name for role, names in _KNOWN.items() if role != "ticker" for name in names if name)


def spellings(role: str, own: list[str]) -> tuple[str, ...]:
    """The names of a role, folded; `own` are those of a table, where `o`, `h`, `l` and `c` together are prices."""
    lettered = set("ohlc") <= set(own) and role in _LETTERS
    return (_LETTERS[role], *_KNOWN[role]) if lettered else _KNOWN[role]


def is_known(name: str) -> bool:
    """Whether a cell is the name of a figure or of the date in some export."""
    return folded(name) in _ANY
