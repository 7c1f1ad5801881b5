"""The pages behind the links in the foot of a mail. The token is the permission, and no script is needed."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
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
            is_one_click, now = "List-Unsubscribe" in request.POST, timezone.now()
            for reader in refusing.readers_of(message, person, now):
                refusing.refuse_all(
                    contact=reader,
                    source="one-click" if is_one_click else "unsubscribe-page",
                    wording="" if is_one_click else _("Yes, unsubscribe me"),
                    now=now,
                    ip_address=address_of(request),
                    user_agent=agent_of(request),
                )
        return page(request, "messaging/unsubscribed.html", token=token, person=person)


@csrf_exempt
def preferences(request: HttpRequest, token: str) -> HttpResponse:
    """What a person hears from us, how and how often: GET shows it, POST changes it."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    message, contact = ids(tokens.PERSON, token)
    person = refusing.person_of(message, contact)
    wrong: dict[str, str] = {}
    is_saved = False
    if request.method == "POST" and person is not None:
        with spoken(request, person) as language:
            try:
                _take(request, person, language)
                is_saved = True
            except refusing.NotUnderstood as error:
                wrong = {error.name: str(error)}
        person = refusing.living(person.pk)
    with spoken(request, person, chosen=request.POST.get("language", "") if is_saved else "") as language:
        shown = _shown(person, language) if person else {}
        answer = page(
            request, "messaging/preferences.html", token=token, person=person, is_saved=is_saved, wrong=wrong, **shown
        )
    answer.status_code = 400 if wrong else 200
    return answer


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
    proof: dict[str, Any] = {"ip_address": address_of(request), "user_agent": agent_of(request)}
    if "refuse_all" in told:
        words = _("Unsubscribe from everything")
        refusing.refuse_all(**said, **proof, source="preference-page", wording=words)
        return
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
