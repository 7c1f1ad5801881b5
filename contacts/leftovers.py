"""What imports leave lying of a person: files on disk, and notes on rows. Erased with them."""

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial

from django.db import transaction
from django.utils.translation import gettext as _

from contacts.erasure import Traces
from contacts.importing import forget, forget_file
from contacts.models import Import, ImportNote

# Whose file is still needed.
UNFINISHED = ("draft", "checking", "waiting", "running", "paused", "undoing")
_CHUNK = 1 << 20


def forget_files(traces: Traces) -> Mapping[str, int]:
    """Deletes the files of imports that name the person, and the notes on their rows.

    Raises ValueError with a sentence where such an import is not at its end: it would bring the person back.
    """
    forget(traces.ids, [value for _kind, value in traces.handles])
    named = 0
    for one in Import.objects.exclude(file="").exclude(file=None):
        if not _names(one, traces.texts):
            continue
        if one.state in UNFINISHED:
            raise ValueError(
                _("Import %(id)d holds this person and is not at its end. Let it end, or delete it.") % {"id": one.pk}
            )
        named += 1
        transaction.on_commit(partial(forget_file, one))
    Import.objects.filter(traces.within("name")).update(name="…")
    notes = ImportNote.objects.filter(traces.within("cells") | traces.within("reasons")).delete()[0]
    return {"contacts.import (files)": named, "contacts.importnote": notes}


def _names(one: Import, texts: list[str]) -> bool:
    needles = [spelt for text in texts for spelt in _spellings(text.lower())]
    try:
        with one.file.open("rb") as file:
            return any(any(needle in piece for needle in needles) for piece in _pieces(file))
    except OSError:
        return False


def _spellings(text: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "cp1250"):
        try:
            yield text.encode(encoding)
        except UnicodeEncodeError:
            continue


def _pieces(file) -> Iterator[bytes]:
    """The content in pieces that overlap, in lower case; of a workbook what is zipped in it."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                with archive.open(name) as part:
                    yield from _overlapping(part)
        return
    file.seek(0)
    yield from _overlapping(file)


def _overlapping(file) -> Iterator[bytes]:
    tail = b""
    while chunk := file.read(_CHUNK):
        piece = tail + chunk
        yield piece.lower()
        tail = piece[-1024:]
