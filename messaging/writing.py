"""Writes mails: from a claimed message to the bytes that leave."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple

import orjson
import structlog
from django.conf import settings

from messaging import links, liquid, markup, tokens, utm
from messaging.bounces.returnpath import return_path
from messaging.channels import Outgoing
from messaging.headers import HeaderInjection
from messaging.models import Brand, Hit, Template, TemplateVersion
from messaging.skeleton import Addressee, Skeleton
from messaging.texts import Text
from messaging.versions import NoBrand, freeze, language_for, skeleton

log = structlog.get_logger(__name__)


class Claimed(NamedTuple):
    """A claimed message with what is known about its person."""

    id: int
    contact_id: int
    template_id: int
    version_id: int | None
    message_class: str
    address: str
    attempts: int
    journey_key: str
    context: dict[str, Any]
    email: str
    first_name: str
    last_name: str
    salutation: str
    language: str
    country: str
    job_title: str
    attributes: dict[str, Any]
    company: str | None

    @classmethod
    def read(cls, row: tuple) -> "Claimed":
        """A row of `read_claimed`, whose JSON comes as text."""
        message = list(row)
        for column in (_CONTEXT, _ATTRIBUTES):
            message[column] = {} if row[column] == "{}" else orjson.loads(row[column])
        return cls._make(message)

    def person(self, uses: Collection[str] | None = None) -> dict[str, Any]:
        """What a text may print of a person, or as much of it as is used; what is empty is missing."""
        own = {
            "id": self.contact_id,
            "email": self.email,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "salutation": self.salutation,
            "language": self.language,
            "country": self.country,
            "job_title": self.job_title,
            "company": self.company,
        }
        names = {**self.attributes, **own} if uses is None else uses
        values = {name: liquid.plain(own[name] if name in own else self.attributes.get(name)) for name in names}
        return liquid.present(values)


_CONTEXT, _ATTRIBUTES = Claimed._fields.index("context"), Claimed._fields.index("attributes")


class Written(NamedTuple):
    """One mail, or the reason why there is none."""

    message: Claimed
    version_id: int | None = None
    language: str = ""
    subject: str = ""
    context: Mapping[str, Any] | None = None
    mail: Outgoing | None = None
    reason: str = ""
    detail: str = ""


class Desk:
    """Writes the mails of one batch: keys, templates and links are looked up once."""

    def __init__(self, messages: Sequence[Claimed], now: datetime) -> None:
        self.now = now
        self.signer, self.first = tokens.current(), tokens.first()
        self.date = format_datetime(now.astimezone(UTC))
        self.moment = now.isoformat()
        self.host = links.host()
        self.base = settings.BASE_URL
        self.click = f"{self.base}/t/c/"
        self.versions: dict[int, TemplateVersion | Exception] = {}
        self.skeletons: dict[tuple[int, str, str], tuple[Skeleton | Text, dict[str, int]] | Exception] = {}
        brand = Brand.objects.first()
        for template in Template.objects.select_related("topic").filter(pk__in={one.template_id for one in messages}):
            try:
                self.versions[template.pk] = freeze(template, brand, now)
            except NoBrand as error:
                self.versions[template.pk] = error

    def write(self, messages: Sequence[Claimed]) -> list[Written]:
        """One result for each message, in their order; nothing that one of them holds harms the others."""
        return [self.write_one(message) for message in messages]

    def write_one(self, message: Claimed) -> Written:
        version = self.versions[message.template_id]
        if isinstance(version, Exception):
            return Written(message, reason="no_brand", detail=str(version))
        # A mail that somebody asked for on a page speaks the page's language.
        language = language_for(version.content, str(message.context.get("language") or message.language))
        compiled = self._skeleton(version, language, message.journey_key)
        if isinstance(compiled, Exception):
            return Written(message, version.pk, language, reason="render_error", detail=str(compiled))
        skeleton_, ids = compiled
        person = message.person(skeleton_.uses)
        to = self._addressee(message, ids)
        context = {**(liquid.plain(message.context) if message.context else {}), "contact": person}
        values = skeleton_.values(context, to, self.moment)
        kept = {**message.context, "contact": person}
        try:
            subject, raw = skeleton_.mail(values, to, self._personal(skeleton_, values, message))
        except HeaderInjection:
            return Written(message, version.pk, language, context=kept, reason="header_injection")
        except (liquid.RenderError, markup.MarkupError) as error:
            return Written(message, version.pk, language, context=kept, reason="render_error", detail=str(error))
        except Exception as error:
            log.exception("mail_not_written", message=message.id)
            detail = f"{type(error).__name__}: {error}"
            return Written(message, version.pk, language, context=kept, reason="render_error", detail=detail)
        sender = return_path(skeleton_.envelope_sender, self.first, message.id)
        mail = Outgoing(message.id, sender, message.address, raw, to.message_id)
        return Written(message, version.pk, language, subject, kept, mail)

    def _skeleton(
        self, version: TemplateVersion, language: str, journey: str
    ) -> tuple[Skeleton | Text, dict[str, int]] | Exception:
        key = (version.pk, language, journey)
        if key not in self.skeletons:
            try:
                compiled = skeleton(version, language)
                urls = [utm.of_journey(url, journey) for url in compiled.letter.links]
                stored = links.store(urls, self.now)
                if version.link_counts.get(language) != len(compiled.letter.links):
                    version.link_counts[language] = len(compiled.letter.links)
                    version.save(update_fields=["link_counts"])
                self.skeletons[key] = (
                    compiled,
                    {f"l{number}": stored[url] for number, url in enumerate(urls)},
                )
            except (liquid.RenderError, markup.MarkupError, ValueError) as error:
                self.skeletons[key] = error
        return self.skeletons[key]

    def _addressee(self, message: Claimed, ids: Mapping[str, int]) -> Addressee:
        signer, base, number = self.signer, self.base, message.id
        (person,) = signer.tokens(tokens.PERSON, (number,), (message.contact_id,))
        (opened,) = signer.tokens(tokens.OPEN, (), (number,))
        own = {
            "open": f"{base}/t/o/{opened}.gif",
            "unsubscribe": f"{base}/u/{person}/",
            "preferences": f"{base}/p/{person}/",
            "hidden": f"{base}/t/l/{signer.token(tokens.CLICK, number, Hit.HIDDEN_LINK)}",
        }
        if message.context and (signup := message.context.get("signup")):
            own["confirm"] = f"{base}/confirm/{signer.token(tokens.CONFIRM, signup)}/"
        clicks = signer.tokens(tokens.CLICK, (number,), ids.values())
        return Addressee(
            message=number,
            address=message.address,
            message_id=tokens.message_id(self.first, number, self.host),
            date=self.date,
            links=own,
            tracked={name: self.click + token for name, token in zip(ids, clicks, strict=True)},
        )

    def _personal(self, compiled: Skeleton | Text, values: Mapping[str, Any], message: Claimed) -> dict[str, str]:
        urls = compiled.personal_links(values)
        if not urls:
            return {}
        leads = {url: utm.of_journey(utm.tag(url, compiled.letter.tags), message.journey_key) for url in urls}
        stored = links.store(leads.values(), self.now)
        return {
            url: f"{self.click}{self.signer.token(tokens.CLICK, message.id, stored[to])}" for url, to in leads.items()
        }
