"""Opens over HTTP on two granian workers, each durable within 0.2 s after its answer, beside an empty view."""

from collections.abc import Callable

from journey_crm.benches import Result
from journey_crm.benches.clicks import BROWSER, measure
from journey_crm.benches.web import get
from messaging import tokens

ROWS = 60_000


def run(rows: int, say: Callable[[str], object]) -> Result:
    signer = tokens.current()
    requests = [get(f"/t/o/{signer.token(tokens.OPEN, number + 1)}.gif", BROWSER) for number in range(rows)]
    return measure("opens", "opens/s", requests, 200, say)
