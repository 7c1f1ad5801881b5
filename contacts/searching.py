"""Finding people by a few letters, and counting them without reading a million rows."""

import unicodedata

from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower
from django.db.models.lookups import Contains
from django.utils.functional import cached_property

from contacts.identity import normalise


def by_name(contacts: QuerySet, words: str) -> QuerySet:
    """Those in whose first name, last name or e-mail each word stands somewhere; served by the trigram index."""
    for word in unicodedata.normalize("NFKC", words).lower().replace("\x00", "").split()[:5]:
        if "@" in word:
            word = _as_stored(word)
        contacts = contacts.filter(
            Q(Contains(Lower("first_name"), word))
            | Q(Contains(Lower("last_name"), word))
            | Q(Contains(Lower("email"), word))
        )
    return contacts


def _as_stored(word: str) -> str:
    """A whole address as contacts have it; a part of one as it is."""
    try:
        return normalise("email", word)
    except ValueError:
        return word


class EstimatingPaginator(Paginator):
    """Above `EXACT_UP_TO` rows the count is the planner's estimate: a list need not read the table to show a page."""

    EXACT_UP_TO = 10_000

    @cached_property
    def count(self) -> int:
        rows: QuerySet = self.object_list  # type: ignore[assignment]
        counted = rows.order_by()[: self.EXACT_UP_TO + 1].count()
        if counted <= self.EXACT_UP_TO:
            return counted
        # The explained plan knows about filters, which the statistics of the table alone do not.
        sql, params = rows.order_by().values("pk").query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            plan = cursor.fetchone()[0]
        return max(int(plan[0]["Plan"]["Plan Rows"]), counted)
