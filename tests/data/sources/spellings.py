"""Names of columns and months, and forms of dates, as exports write them."""

from __future__ import annotations

NAMES = [
    ("Date", "Open", "High", "Low", "Close", "Volume"),
    ("Date", "Open", "High", "Low", "Close ", "Volume", "Adj Close\xa0"),
    ("Date", "Open", "High", "Low", "Close/Last", "Volume"),
    ("Date", "Open", "High", "Low", "Price", "Vol."),
    ("<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"),
    ("timestamp", "open", "high", "low", "close", "volume", "adjusted_close"),
    ("date", "1. open", "2. high", "3. low", "4. close", "6. volume", "adjClose"),
    ("Datetime", "Open Price", "High Price", "Low Price", "Close Price (USD)", "Shares Traded"),
    ("Datum", "Eröffn.", "Hoch", "Tief", "Zuletzt", "Vol."),
    ("Fecha", "Apertura", "Máximo", "Mínimo", "Último", "Vol."),
    ("Date", "Ouv.", " Plus Haut", "Plus Bas", "Dernier", "Vol."),
    ("Data", "Abertura", "Máxima", "Mínima", "Último", "Vol."),
    ("Data", "Apertura", "Massimo", "Minimo", "Ultimo", "Vol."),
    ("Data", "Otwarcie", "Najwyzszy", "Najnizszy", "Zamkniecie", "Wolumen"),
    ("日期", "开盘", "最高", "最低", "收盘", "成交量"),
    ("t", "o", "h", "l", "c", "v"),
]
MONTHS = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "de, short": "Jan. Feb. Mrz. Apr. Mai Jun. Jul. Aug. Sep. Okt. Nov. Dez.",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "es, short": "ene feb mar abr may jun jul ago sept oct nov dic",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "fr, short": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "pl, short": "sty lut mar kwi maj cze lip sie wrz paź lis gru",
}
ISO = ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m-%dT00:00:00Z", "%Y-%m-%d 00:00:00-05:00"]
LOCAL = ["%m/%d/%Y", "%a %d.%m.%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%y", "%m/%d/%y", "%m/%d/%Y 16:00:00"]
TIMED = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y%m%d %H%M%S", "%d. %b %Y %H:%M", "%a, %d %b %Y %H:%M:%S GMT"]
LOCAL_TIMED = ["%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d-%m-%y %H:%M"]
COUNTED = ["excel", "s", "ms", "us", "ns"]
NAMED = ["%d de %b de %Y", "%d. %b %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d %b %Y", "%d-%b-%y", "%a, %d %b %Y"]
NAMED += ["%Y-%m-%d (%a)", "%A, %d. %b %Y"]
