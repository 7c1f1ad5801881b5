"""The ledger of consent as a file."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from contacts.csvfiles import neutral

COLUMNS = [
    "contact", "changed_at", "topic", "channel", "state", "source", "actor", "ip_address", "user_agent",
    "wording_sha256", "wording",
]  # fmt: skip


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows of `contacts.consent.proof` as CSV that a spreadsheet opens without running anything."""
    file = io.StringIO()
    writer = csv.writer(file)
    found = list(rows)
    columns = [name for name in COLUMNS if name != "contact" or any("contact" in row for row in found)]
    writer.writerow(columns)
    for row in found:
        told = {**row, "changed_at": row["changed_at"].isoformat()}
        writer.writerow([neutral(str(told[name])) if told[name] is not None else "" for name in columns])
    return file.getvalue()
