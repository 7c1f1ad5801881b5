"""What the editor of mails asks the server: draw what is not saved, find a contact to show it as, send a test.

They take POST only and write nothing but test sends.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import get_language_info
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from contacts.models import Contact
from contacts.searching import by_name
from messaging import chips, editor_words, trials
from messaging.blocks import KINDS, SIMPLE, sound
from messaging.channels import CHANNELS
from messaging.linter_rules import MOST_BYTES
from messaging.linting import problems_of
from messaging.models import ReusableBlock, Template, Topic
from messaging.preview import NotRendered, sample

_FOUND = 8
_PATH = re.compile(r"^(blocks[\w.\[\]]*): ")
_DARK = "@media (prefers-color-scheme: dark)"


def mail_page(html: str) -> HttpResponse:
    """A mail for an iframe: it may show pictures and colours, and neither run scripts nor reach the page around it."""
    response = HttpResponse(html)
    response["Content-Security-Policy"] = (
        "sandbox; default-src 'none'; img-src https: http: data:; style-src 'unsafe-inline'; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'self'"
    )
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


def _may(request: HttpRequest, *verbs: str) -> None:
    if not any(request.user.has_perm(f"messaging.{verb}_template") for verb in verbs):
        raise PermissionDenied


def person(request: HttpRequest, wanted: str) -> Contact | None:
    """The contact with this number or address, if the user may see them."""
    people = Contact.objects.visible_to(request.user).living().select_related("company")
    wanted = wanted.replace("\0", "")
    which = {"pk": int(wanted)} if wanted.isdecimal() and len(wanted) < 19 else {"email": wanted.strip().lower()}
    return people.filter(**which).first()


def _draft(request: HttpRequest) -> Template:
    """The template as it stands in the form; nothing is saved. What cannot be read counts as empty."""
    told = request.POST
    text = {name: told.get(name, "").replace("\0", "").replace("\r\n", "\n") for name in _TEXTS}
    text["channel"] = text["channel"] if text["channel"] in CHANNELS else "email"
    number = told.get("pk", "")
    topic = told.get("topic", "")
    pk = int(number) if number.isdecimal() and len(number) < 19 else None
    # The form of a saved template does not tell its key.
    text["key"] = Template.objects.filter(pk=pk or 0).values_list("key", flat=True).first() or text["key"]
    return Template(
        pk=pk,
        **text,
        topic=Topic.objects.filter(pk=int(topic)).first() if topic.isdecimal() and len(topic) < 19 else None,
        translations={
            str(language): {str(name): str(value) for name, value in variant.items()}
            for language, variant in _json(told.get("translations", "")).items()
            if isinstance(variant, dict)
        },
        utm=_json(told.get("utm", "")),
    )


_TEXTS = ["key", "name", "channel", "message_class", "language", "subject", "preheader", "body_format", "body"]


def _sound(template: Template) -> Template:
    """The same without the blocks that are not finished: the rest is shown meanwhile."""
    if template.body_format == "blocks":
        template.body = sound(template.body)
        for variant in template.translations.values():
            if variant.get("body"):
                variant["body"] = sound(variant["body"])
    return template


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _problems(template: Template) -> list[dict[str, str]]:
    """What the linter says, with the language, the field and the block that each is about."""
    found = []
    for one in problems_of(template):
        parts, language = one.field.split("."), one.language
        if language != template.language and not template.translations.get(language, {}).get(parts[-1]):
            continue  # it is as in the template's own language, where it is told
        match = _PATH.match(one.sentence)
        found.append(
            {
                "level": one.severity,
                "rule": one.rule,
                "language": language,
                "field": parts[-1],
                "path": match[1] if match else "",
                "sentence": one.sentence[match.end() :] if match else one.sentence,
            }
        )
    return found


@require_POST
def draw(request: HttpRequest) -> HttpResponse:
    """How the unsaved mail reads: subject, text part, bytes, and what is wrong with it."""
    _may(request, "view", "add", "change")
    template = _draft(request)
    answer: dict[str, Any] = {"problems": _problems(template), "most": MOST_BYTES}
    try:
        shown = sample(
            template=_sound(template),
            contact=_shown_as(request),
            language=request.POST.get("shown", ""),
            now=timezone.now(),
        )
    except NotRendered as error:
        return JsonResponse({**answer, "problem": str(error), "bytes": 0})
    told = {"subject": shown.subject, "text": shown.text, "language": shown.language}
    return JsonResponse({**answer, **told, "problem": "", "bytes": len(shown.html.encode())})


def _shown_as(request: HttpRequest) -> Contact | None:
    wanted = request.POST.get("contact", "")
    return person(request, wanted) if wanted else None


@require_POST
def draw_mail(request: HttpRequest) -> HttpResponse:
    """The unsaved mail for the frame beside the editor, in its light or its dark colours."""
    _may(request, "view", "add", "change")
    try:
        html = sample(
            template=_sound(_draft(request)),
            contact=_shown_as(request),
            language=request.POST.get("shown", ""),
            now=timezone.now(),
        ).html
    except NotRendered:
        html = "<!DOCTYPE html><title></title>"
    # The frame shows what is asked for, whatever this computer prefers.
    return mail_page(html.replace(_DARK, "@media all" if request.POST.get("dark") else "@media not all"))


@require_POST
def people(request: HttpRequest) -> HttpResponse:
    """A few contacts by parts of their names, to show a mail as one of them."""
    _may(request, "view", "add", "change")
    words = request.POST.get("q", "").strip()
    seen = Contact.objects.living().visible_to(request.user)
    found = by_name(seen, words).order_by("-pk")[:_FOUND] if words else []
    return JsonResponse({"people": [{"id": one.pk, "name": str(one.name), "email": one.email} for one in found]})


@require_POST
def try_out(request: HttpRequest) -> HttpResponse:
    """Sends a test of what stands in the form (with `saved`: of the saved template) and says what happens."""
    _may(request, "add", "change")
    saved = request.POST.get("saved", "")
    is_saved = saved.isdecimal() and len(saved) < 19
    template = get_object_or_404(Template.objects.select_related("topic"), pk=saved) if is_saved else _draft(request)
    if template.pk and not is_saved and not Template.objects.filter(pk=template.pk).exists():
        template.pk = None
    try:
        made = trials.ask(
            template=template,
            contact=_shown_as(request),
            language=request.POST.get("shown", ""),
            addresses=re.split(r"[\s,;]+", request.POST.get("to", ""))[:20],
            by=request.user,
            now=timezone.now(),
        )
    except trials.NotAsked as error:
        if is_saved:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:messaging_template_preview", args=[template.pk]))
        return JsonResponse({"message": str(error)}, status=422)
    said = _("On its way to %(addresses)s.") % {"addresses": ", ".join(one.address for one in made)}
    if is_saved:
        messages.success(request, said)
        return HttpResponseRedirect(reverse("admin:messaging_template_preview", args=[template.pk]))
    return JsonResponse({"message": said})


@require_POST
def tries(request: HttpRequest) -> HttpResponse:
    """What became of the user's last tests of a template."""
    _may(request, "add", "change")
    number = request.POST.get("pk", "")
    found = trials.latest(by=request.user, template=int(number) if number.isdecimal() and len(number) < 19 else None)
    return JsonResponse(
        {
            "tries": [
                {
                    "address": one.address,
                    "state": one.state,
                    "says": one.get_state_display(),
                    "response": one.response if one.state in ("failed", "queued") else "",
                }
                for one in found
            ]
        }
    )


def equipment(request: HttpRequest) -> Mapping[str, Any]:
    """All that the editor needs to know, as JSON for the page: kinds of blocks, values, languages, words, addresses."""
    spoken = [code for code, _name in settings.LANGUAGES]
    others = ["de", "sk", "fr", "es", "it", "uk", "hu", "pt", "nl"]
    return {
        "kinds": {
            name: {
                "label": str(kind.label),
                "icon": kind.icon,
                "about": str(kind.about),
                "parts": [
                    {
                        "name": part.name,
                        "type": part.type,
                        "label": str(part.label),
                        "isRequired": part.is_required,
                        "choices": [[value, str(label)] for value, label in part.choices],
                        "least": part.least,
                        "most": part.most,
                        "default": part.default,
                    }
                    for part in kind.parts
                ],
            }
            for name, kind in KINDS.items()
        },
        "simple": SIMPLE,
        "chips": chips.groups(),
        "reusable": [[one.key, str(one)] for one in ReusableBlock.objects.order_by("key")],
        "languages": [[code, get_language_info(code)["name_local"].capitalize()] for code in [*spoken, *others]],
        # What is easiest comes first.
        "formats": sorted(
            ([name, capfirst(label)] for name, label in Template.FORMATS if name != "text"),
            key=lambda one: one[0] != "blocks",
        ),
        "words": editor_words.words(),
        "icons": static("journey/icons.svg"),
        "me": getattr(request.user, "email", ""),
        "mayTry": request.user.has_perm("messaging.change_template") or request.user.has_perm("messaging.add_template"),
        "most": trials.MOST_ADDRESSES,
        "urls": {
            name: reverse(f"admin:messaging_template_{name}")
            for name in ("draw", "draw_mail", "people", "try", "tries")
        },
    }
