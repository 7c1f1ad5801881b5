"""The hosted sign-up form, and the page behind the link that confirms a sign-up."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from contacts.models import Field
from contacts.records import Reader, Wrong
from messaging import signups, tokens
from messaging.models import Signup, SignupForm
from messaging.public import address_of, agent_of, ids, page, private, spoken
from messaging.signup_forms import COLUMN_LABELS, words_in

# A field that people do not see: whoever fills it in is a program.
TRAP = "website"
# Faster than people type. Such a sign-up counts, but only once it is confirmed by mail.
HASTE = timedelta(seconds=2)
_LARGEST = 16 * 1024


@csrf_exempt
def form(request: HttpRequest, key: str) -> HttpResponse:
    """GET shows the form; POST, from it or as JSON from a site that embeds it, takes a sign-up in.

    The answer is the same for addresses that we know and do not know, and for programs that fell into the trap.
    """
    one = get_object_or_404(SignupForm, key=key, is_active=True)
    origin = request.headers.get("Origin", "")
    is_foreign = bool(origin) and origin != f"{request.scheme}://{request.get_host()}"
    if is_foreign and origin not in one.origins:
        return JsonResponse({"error": _("This form is not open to this site.")}, status=403)
    if request.method not in ("GET", "HEAD", "POST", "OPTIONS"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST", "OPTIONS"])
    with spoken(request, None):
        if request.method == "OPTIONS":
            response = HttpResponse(status=204)
        elif request.method == "POST":
            is_json = request.content_type == "application/json"
            response = _take_json(request, one) if is_json else _take_page(request, one)
        else:
            response = _show(request, one)
    if is_foreign:
        response["Access-Control-Allow-Origin"] = origin
        response["Access-Control-Allow-Methods"] = "POST"
        response["Access-Control-Allow-Headers"] = "Content-Type"
        response["Access-Control-Max-Age"] = "600"
    response["Vary"] = ", ".join(filter(None, [response.get("Vary", ""), "Origin"]))
    return response


def _show(request: HttpRequest, one: SignupForm, said: Mapping[str, str] | None = None, wrong=None) -> HttpResponse:
    language = get_language() or "en"
    said = said or {}
    labels = COLUMN_LABELS | {f.key: f.name or f.key for f in Field.objects.filter(key__in=one.fields)}
    answer = page(
        request,
        "messaging/signup_form.html",
        form=one,
        words=words_in(one, language),
        fields=[(name, labels.get(name, name), said.get(name, "")) for name in one.fields],
        email=said.get("email", ""),
        wrong=wrong or {},
        trap=TRAP,
        stamp=signing.dumps(one.key, salt="sign-up"),
        topics=signups.names_of(list(one.topics.values_list("key", flat=True)), language),
    )
    # Its address holds no secret; and of a page that tells nobody where it stands, a browser does not tell us either
    # that the form came from here.
    answer["Referrer-Policy"] = "same-origin"
    if wrong:
        answer.status_code = 400
    if one.thanks_url:
        # The browser follows the answer to the form there.
        parts = urlsplit(one.thanks_url)
        allowed = {"form-action": [f"{parts.scheme}://{parts.netloc}"]}
        answer._csp_update = getattr(answer, "_csp_update", {}) | allowed  # type: ignore[attr-defined]
    return answer


def _take_page(request: HttpRequest, one: SignupForm) -> HttpResponse:
    said = {name: str(value) for name, value in request.POST.items()}
    wrong = _take(request, one, said, is_hasty=_is_hasty(one, said.get("stamp", "")))
    if wrong:
        return _show(request, one, said, wrong)
    if one.thanks_url:
        return private(HttpResponseRedirect(one.thanks_url))
    return page(request, "messaging/signup_thanks.html", form=one)


def _take_json(request: HttpRequest, one: SignupForm) -> HttpResponse:
    try:
        if len(request.body) > _LARGEST:
            raise ValueError
        said = json.loads(request.body)
        if not isinstance(said, dict):
            raise ValueError
    except (ValueError, RecursionError):
        return JsonResponse({"errors": {"": _("The body is not valid JSON.")}}, status=400)
    said = {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}
    # Nobody knows how long a foreign page was looked at.
    if wrong := _take(request, one, said, is_hasty=True):
        return private(JsonResponse({"errors": wrong}, status=400))
    return private(JsonResponse({"message": _("Thank you. Please look into your mail and confirm.")}, status=202))


def _is_hasty(one: SignupForm, stamp: str) -> bool:
    try:
        if signing.loads(stamp, salt="sign-up", max_age=timedelta(days=1)) != one.key:
            return True
    except signing.BadSignature:
        return True
    try:
        signing.loads(stamp, salt="sign-up", max_age=HASTE)
    except signing.SignatureExpired:
        return False
    return True


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL keeps it: no NUL, and no half of a surrogate pair, which JSON can bring."""
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def _take(request: HttpRequest, one: SignupForm, said: Mapping[str, str], *, is_hasty: bool) -> dict[str, str]:
    """Takes a sign-up in; what is wrong with it by field, or nothing."""
    now = timezone.now()
    told: dict[str, Any] = {"email": said.get("email", "").strip()}
    own = set(Field.objects.filter(key__in=one.fields).values_list("key", flat=True))
    attributes: dict[str, Any] = {}
    for name in one.fields:
        if value := said.get(name, "").strip():
            (attributes if name in own else told)[name] = value
    if not told["email"]:
        return {"email": _("Please fill in your e-mail address.")}
    for name, value in (*told.items(), *attributes.items()):
        if not _is_storable(value):
            return {name: _("This is not valid.")}
    try:
        record = Reader(now).read(0, {**told, **({"attributes": attributes} if attributes else {})})
    except Wrong as wrong:
        return {wrong.error["field"].removeprefix("attributes."): wrong.error["message"]}
    if said.get(TRAP, "").strip():
        return {}
    language = get_language() or "en"
    words = words_in(one, language)
    signups.receive(
        form=one,
        address=record.email or "",
        traits={**{name: text for name, text in record.texts.items() if name != "email" and text}, **record.attributes},
        language=language.split("-")[0],
        words="\n".join(filter(None, [words["title"], words["text"], words["consent"]])),
        is_hasty=is_hasty,
        ip_address=address_of(request),
        user_agent=agent_of(request),
        now=now,
    )
    return {}


@csrf_exempt
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows one button and changes nothing, so that no scanner confirms. POST confirms, once; a link that is used
    or too old offers another one."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    (signup,) = ids(tokens.CONFIRM, token)
    now = timezone.now()
    row = Signup.objects.filter(pk=signup).first()
    language = row.language if row else ""
    with spoken(request, None, chosen="" if request.COOKIES.get("django_language") else language) as speaking:
        state = signups.state_of(row, now) if row else "gone"
        is_confirmed = is_asked_anew = False
        if request.method == "POST" and "again" in request.POST:
            is_asked_anew = signups.ask_anew(signup, now)
        elif request.method == "POST":
            agent = agent_of(request)
            state = signups.confirm(signup=signup, ip_address=address_of(request), user_agent=agent, now=now)
            is_confirmed = state == "open"
        return page(
            request, "messaging/confirm.html", token=token, state=state, is_confirmed=is_confirmed,
            is_asked_anew=is_asked_anew, topics=signups.names_of(row.topics if row else [], speaking),
        )  # fmt: skip
