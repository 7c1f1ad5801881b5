"""The pages behind the links in the foot of a mail. The token is the permission, and no script is needed."""

from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from contacts.models import Contact
from messaging import refusing, tokens
from messaging.public import address_of, agent_of, ids, languages, page, spoken


@csrf_exempt
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows one button and changes nothing. POST refuses all at once: anonymous, from a mail program or the button
    (RFC 8058); it answers 200, without a redirect, however often."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    message, contact = ids(tokens.PERSON, token)
    person = refusing.person_of(message, contact)
    with spoken(request, person):
        if request.method != "POST":
            return page(request, "messaging/unsubscribe.html", token=token)
        if person is not None:
            if _is_one_click(request):
                _refuse_all(request, message, person, source="one-click", words="")
            else:
                _refuse_all(request, message, person, source="unsubscribe-page", words=_("Yes, unsubscribe me"))
        return _left(request, token, person)


def _is_one_click(request: HttpRequest) -> bool:
    """Whether a mail program pressed. A body that nobody can read is no page of ours, and a press all the same."""
    try:
        return "List-Unsubscribe" in request.POST
    except (BadRequest, MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        return True


def _left(request: HttpRequest, token: str, person: Contact | None, **more: Any) -> HttpResponse:
    """The page behind a refusal of everything: take it back by one press, or say why. Both are free."""
    return page(
        request, "messaging/unsubscribed.html", token=token, person=person, why=refusing.WHY,
        longest_comment=refusing.LONGEST_COMMENT, **more,
    )  # fmt: skip


@csrf_exempt
def preferences(request: HttpRequest, token: str) -> HttpResponse:
    """What a person hears from us, how and how often: GET shows it, POST changes it."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    message, contact = ids(tokens.PERSON, token)
    person = refusing.person_of(message, contact)
    if person is not None and request.method == "POST":
        with spoken(request, person):
            if "refuse_all" in request.POST:
                _refuse_all(request, message, person, source="preference-page", words=_("Unsubscribe from everything"))
                return _left(request, token, person)
            if "why" in request.POST:
                return _explain(request, token, person)
    wrong: dict[str, str] = {}
    is_saved = is_taken_back = False
    former = person.language.split("-")[0] if person else ""
    if request.method == "POST" and person is not None:
        with spoken(request, person) as language:
            try:
                if "undo" in request.POST:
                    is_taken_back = _take_back(request, message, person)
                else:
                    _take(request, person, language)
                    is_saved = True
            except refusing.NotUnderstood as error:
                wrong = {error.name: str(error)}
        person = refusing.living(person.pk)
    # The page speaks a language that was chosen anew at once; else it goes on in the one that it is read in.
    chosen = request.POST.get("language", "") if is_saved else ""
    with spoken(request, person, chosen=chosen if chosen != former else "") as language:
        shown = _shown(person, language) if person else {}
        answer = page(
            request, "messaging/preferences.html", token=token, person=person, is_saved=is_saved, wrong=wrong,
            is_taken_back=is_taken_back, **shown,
        )  # fmt: skip
    answer.status_code = 400 if wrong else 200
    return answer


def _proof(request: HttpRequest) -> dict[str, Any]:
    return {"ip_address": address_of(request), "user_agent": agent_of(request)}


def _refuse_all(request: HttpRequest, message: int, person: Contact, *, source: str, words: str) -> None:
    now = timezone.now()
    for reader in refusing.readers_of(message, person, now):
        refusing.refuse_all(contact=reader, source=source, wording=words, now=now, **_proof(request))


def _take_back(request: HttpRequest, message: int, person: Contact) -> bool:
    now, words = timezone.now(), _("That was a mistake: I want to go on hearing from you")
    readers = refusing.readers_of(message, person, now)
    taken_back = [refusing.take_back(contact=one, wording=words, now=now, **_proof(request)) for one in readers]
    return any(taken_back)


def _explain(request: HttpRequest, token: str, person: Contact) -> HttpResponse:
    told = request.POST
    try:
        refusing.explain_leaving(contact=person, why=told["why"], comment=told.get("comment", ""), now=timezone.now())
    except refusing.NotUnderstood as error:
        answer = _left(request, token, person, wrong=str(error))
        answer.status_code = 400
        return answer
    return _left(request, token, person, is_explained=True)


def _shown(person: Contact, language: str) -> dict[str, Any]:
    now = timezone.now()
    limits = sorted({*refusing.LIMITS, *([person.most_per_week] if person.most_per_week else [])})
    return {
        "choices": refusing.choices(person, language),
        "ways": refusing.ways(person),
        "paused_until": person.paused_until if person.paused_until and person.paused_until > now else None,
        "limits": limits,
        "spoken": person.language.split("-")[0] or language,
        "spoken_languages": languages(),
        "is_suppressed": refusing.is_suppressed(person),
        "today": timezone.localdate(),
    }


@transaction.atomic
def _take(request: HttpRequest, person: Contact, language: str) -> None:
    """Writes what the form says; what it does not speak of stays. Raises refusing.NotUnderstood."""
    now, told = timezone.now(), request.POST
    said: dict[str, Any] = {"contact": person, "now": now}
    proof = _proof(request)
    limits: dict[str, Any] = {}
    if "resume" in told:
        limits["paused_until"] = None
    elif told.get("pause", "keep") != "keep":
        limits["paused_until"] = refusing.end_of_pause(told["pause"], told.get("pause_until", ""), person, now)
    if "most" in told:
        limits["most_per_week"] = refusing.most_a_week(told["most"])
    if "language" in told:
        refusing.choose_language(**said, language=told["language"])
    topics, channels = set(told.getlist("topic")), set(told.getlist("channel"))
    if "resume" not in told:
        is_mail_refused = any(way.key == "email" and not way.is_allowed for way in refusing.ways(person))
        # An unticked box says nothing; that the boxes were there is told by a field of their own. Who refused all mail
        # and now ticks a topic wants mail again.
        is_mail_wanted = "channels" not in told or "email" in channels or (is_mail_refused and bool(topics))
        if "channels" in told:
            refusing.choose_channels(**said, **proof, allowed=channels | ({"email"} if is_mail_wanted else set()))
        if is_mail_wanted:
            refusing.choose_topics(**said, **proof, allowed=topics, language=language)
    if limits:
        refusing.choose_limits(**said, **limits)
