"""The first step of the tick: takes the inbox in, finds, makes and merges people, and writes the stream.

Everything is done to sets (the statements are in `queries/ingest.sql`). A batch that fails is cut down until the one
row that can not be taken in stands alone, and that row is put aside in the inbox with its reason.
"""

from datetime import datetime

import structlog
from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction

from contacts import merging, segments
from contacts.consent import CHANNELS
from contacts.erasure import pads
from contacts.identity import FREE_MAIL
from contacts.models import ErasedHandle, Field, Incoming
from contacts.sql import load

log = structlog.get_logger(__name__)

SQL = load(__file__)

# So many rows of the inbox at a time, and so many times in one run of the step: the rest waits for the next tick.
BATCH = 20_000
BATCHES = 10

# From so many rows on a batch is worth statistics.
LARGE = 1_000

# What a trait of this name fills; every other trait is a custom field.
COLUMNS = [
    "email", "phone", "first_name", "last_name", "salutation", "language", "country", "timezone", "job_title",
    "company_role",    "company",
]  # fmt: skip

_FREE_MAIL = sorted(FREE_MAIL)

SCRATCH = ["taken", "handle", "claim", "person", "landed", "met", "told", "written", "seen", "born"]

# The classes of PostgreSQL's errors that a row is to blame for: data, constraint, limits of the program.
_ROW_IS_TO_BLAME = {"22", "23", "54"}
_UNIQUE_VIOLATION = "23505"


def ingest(now: datetime, after: int, upto: int) -> int:
    """Takes the inbox in; the number of rows that left it.

    `after` and `upto` mean nothing to this step: its cursor is the inbox itself.
    """
    done, size, again = 0, BATCH, 0
    batches = 0
    while batches < BATCHES and Incoming.objects.filter(error="").exists():
        try:
            with transaction.atomic():
                count = take_in(now, size)
        except DatabaseError as error:
            state = getattr(error.__cause__, "sqlstate", None) or ""
            if state[:2] not in _ROW_IS_TO_BLAME:
                raise
            if size > 1:
                size = max(1, size // 8)
            elif state == _UNIQUE_VIOLATION and again < 3:
                # Another writer made the same person between our look and our insert; the next look sees it.
                again += 1
            else:
                log.warning("incoming_put_aside", error=str(error))
                SQL["put_aside"].run(error=f"{type(error).__name__}: {error}"[:2000])
                again = 0
            continue
        if not count:
            break
        done += count
        batches += 1 if size == BATCH else 0
        size, again = min(BATCH, size * 8), 0
    if done:
        SQL["see_contacts"].run()
    return done


def make_scratch() -> None:
    """Makes the temporary tables in which a batch lives until its transaction ends."""
    for table in SCRATCH:
        SQL[f"make_{table}"].run()
    merging.make_scratch()


def take_in(now: datetime, size: int) -> int:
    """Takes in the oldest `size` rows of the inbox, as one set; how many it took."""
    make_scratch()
    SQL["empty_scratch"].run()
    SQL["give_room"].rows()
    cut = SQL["find_cut"].value(size=size) if SQL["may_cross"].value(size=size) else None
    taken = SQL["take_incoming"].run(now=now, size=size, cut=cut)
    if not taken:
        return 0
    is_large = taken > LARGE
    _weigh("weigh_taken", is_large)
    _write_receipts()
    [(names_contacts, renames_users, names_people)] = SQL["look_over"].rows()
    if names_contacts:
        SQL["drop_erased"].run()
    SQL["put_aside_unknown"].run()
    if names_contacts:
        SQL["follow_merged"].run()
    SQL["find_handles"].run()
    _weigh("weigh_handles", is_large)
    if renames_users:
        SQL["rename_users"].run()
    if names_contacts:
        SQL["attach_handles"].run()
        SQL["refuse_second_users"].run()
    if names_people:
        SQL["claim_by_users"].run()
        SQL["claim_anonymous"].run()
    SQL["name_people"].run()
    if SQL["pair_people"].run():
        merging.merge_pairs(now=now)
        SQL["tell_merges"].run()
    SQL["land_rows"].run()
    _weigh("weigh_landed", is_large)
    if names_people:
        SQL["share_devices"].run()
    SQL["meet_contacts"].run()
    _weigh("weigh_met", is_large)
    SQL["create_contacts"].run(now=now)
    SQL["identify_contacts"].run(now=now)
    if names_people:
        SQL["point_devices"].run()
    SQL["insert_identities"].run(now=now)
    _refuse_for_erased(now)
    _apply_traits(now, is_large)
    SQL["keep_sight"].run()
    SQL["write_stream"].run(now=now)
    return taken


def _write_receipts() -> None:
    """Repeats are rare, and a plain insert costs a third of one that looks for them; so they are looked for second."""
    try:
        with transaction.atomic():
            SQL["write_receipts"].run()
    except IntegrityError:
        SQL["drop_repeats"].run()


def _refuse_for_erased(now: datetime) -> None:
    """Who asked to be erased and identifies again is a contact again, but nobody may write to them."""
    if not ErasedHandle.objects.exists():
        return
    inner_pads, outer_pads = zip(*pads(), strict=True)
    found = SQL["erased_in_batch"].rows(inner_pads=list(inner_pads), outer_pads=list(outer_pads))
    if found:
        SQL["settle_told_consents"].rows(
            contacts=[contact for (contact,) in found for _channel in CHANNELS],
            topics=[""] * len(found) * len(CHANNELS), channels=list(CHANNELS) * len(found),
            states=["denied"] * len(found) * len(CHANNELS), source="erasure", actor="", now=now, raisable=[],
        )  # fmt: skip


def _weigh(name: str, is_large: bool) -> None:
    """Nobody else gathers statistics of temporary tables; for a small batch a wrong guess costs less than they do."""
    if is_large:
        SQL[name].run()


def _apply_traits(now: datetime, is_large: bool) -> None:
    if not SQL["sum_up_traits"].run(columns=COLUMNS):
        return
    _weigh("weigh_told", is_large)
    SQL["split_names"].run()
    if Field.objects.exists():
        SQL["fit_told"].run(now=now, zone=settings.TIME_ZONE)
    if SQL["tidy_companies"].run(free=_FREE_MAIL):
        SQL["create_companies"].run(now=now)
        SQL["find_companies"].run()
        if SQL["update_companies"].run(now=now):
            # No single contact tells of it.
            segments.ask_again_readers_of("company.")
    SQL["compare_contacts"].run(columns=COLUMNS)
    SQL["write_contacts"].run(now=now)
    SQL["tell_updates"].run()
