"""How long an SMS gets, told while it is written."""

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.utils.translation import gettext as _

from messaging import texts
from messaging.liquid import RenderError


def counter(request: HttpRequest) -> HttpResponse:
    """A text as typed so far, counted as operators count it, with our links and the way out."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    told = request.POST
    try:
        length = texts.counted(
            told.get("body", ""), language=told.get("language") or "en", message_class=told.get("message_class", "")
        )
    except RenderError as error:
        return JsonResponse({"sentence": str(error), "is_too_long": False})
    sentence = _("%(characters)d characters (%(alphabet)s): %(parts)d of at most %(most)d parts") % {
        "characters": length.characters, "alphabet": length.alphabet, "parts": length.parts, "most": texts.MOST_PARTS,
    }  # fmt: skip
    return JsonResponse({"sentence": sentence, "is_too_long": length.parts > texts.MOST_PARTS})
