"""The pages of a journey's versions: publishing with its impact sheet, what was published, and every draft."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import drawing, flow, graph, publishing
from campaigns.impact import NOBODY, Row, Sheet
from campaigns.models import Enrolment, Journey, JourneyVersion
from campaigns.requests import matching_now

# So many drafts stand on one page.
DRAFTS = 50


class VersionPages:
    """Views of `JourneyAdmin`, which has what they stand on."""

    admin_site: Any
    opts: Any
    _url: Any
    _back: Any
    _publishing: Any
    outcome: Any
    get_queryset: Any
    has_view_or_change_permission: Any
    has_change_permission: Any

    # Going live

    def publish_view(self, request: HttpRequest, journey_id: int) -> HttpResponse:
        """GET shows what a publish would change and what it means for whom; POST publishes.

        Of the current draft, or with `version` of an older version once more.
        """
        journey = self._publishing(request, journey_id)
        version = self._asked_for(request, journey)
        if request.method != "POST":
            return self._sheet_page(request, journey, version, {})
        asked = {"everybody": request.POST.get("everybody", "finish"), "choices": _choices(request)}
        what: dict[str, Any] = {"journey": journey, "by": request.user, "now": timezone.now(), **asked}
        try:
            if version is not None:
                made = publishing.rollback(number=version.number, **what)
            else:
                made = publishing.publish(enrol_matching="enrol_matching" in request.POST, **what)
        except publishing.Unpublishable as wrong:
            if any(problem.path.startswith("choices.") for problem in wrong.problems):
                return self._sheet_page(request, journey, version, asked, status=422)
            messages.error(request, _("There are errors; nothing was published."))
            return self._back(journey)
        except publishing.WrongState as wrong:
            messages.error(request, str(wrong))
            return self._back(journey)
        messages.success(request, _("Version %(number)d is published.") % {"number": made.number})
        return self._back(journey)

    def _asked_for(self, request: HttpRequest, journey: Journey) -> JourneyVersion | None:
        number = (request.POST if request.method == "POST" else request.GET).get("version", "")
        if not number:
            return None
        return get_object_or_404(
            journey.versions, number=int(number) if number.isascii() and number.isdigit() and len(number) < 10 else -1
        )

    def _sheet_page(
        self,
        request: HttpRequest,
        journey: Journey,
        version: JourneyVersion | None,
        asked: dict[str, Any],
        status: int = 200,
    ) -> HttpResponse:
        definition = version.definition if version else publishing.draft_of(journey)
        problems = publishing.problems(definition)
        is_sound = all(problem.level == "warning" for problem in problems)
        sheet = publishing.impact_of(journey, definition, **asked) if is_sound and definition else Sheet("finish")
        live = journey.version.definition if journey.version else {}
        is_new = journey.version is None or live != definition
        last = journey.versions.order_by("-number").values_list("number", flat=True).first() or 0
        number = last + 1 if is_new or journey.version is None else journey.version.number
        inside = publishing.people_inside(journey)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Publish “%(journey)s”?") % {"journey": journey},
            "journey": journey,
            "version": version,
            "number": number,
            "is_new": is_new,
            "changes": flow.changes(live, definition),
            "rows": rows(journey, sheet, live, definition, asked.get("choices") or {}),
            "everybody": sheet.everybody,
            "has_movers": any(row.here and row.may[0] == "finish" and len(row.may) > 1 for row in sheet.rows),
            "problems": problems,
            "can_publish": is_sound,
            "inside": inside,
            "inside_words": ngettext(
                "%(count)d person is inside.", "%(count)d people are inside.", inside
            ) % {"count": inside},
            "is_track": "streams" in definition,
            "outcome": self.outcome(request, definition),
            "matching": matching_now(journey, definition, timezone.now()).count() if version is None else 0,
            "urls": {name: self._url(name, journey) for name in ("change", "publish", "versions")},
        }  # fmt: skip
        return TemplateResponse(request, "campaigns/publish.html", context, status=status)

    # What was

    def versions_view(self, request: HttpRequest, journey_id: int) -> HttpResponse:
        """Everything that was published, and every draft, the newest first."""
        journey = get_object_or_404(self.get_queryset(request), pk=journey_id)
        if not self.has_view_or_change_permission(request, journey):
            raise PermissionDenied
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        inside = dict(
            Enrolment.objects.filter(journey_id=journey.pk, state="open")
            .values_list("version_id")
            .annotate(Count("pk"))
        )
        versions = journey.versions.defer("definition").select_related("published_by").order_by("-number")
        drafts = journey.drafts.defer("definition").select_related("made_by").order_by("-revision")
        before = request.GET.get("before", "")
        if before.isascii() and before.isdigit() and len(before) < 10:
            drafts = drafts.filter(revision__lt=int(before))
        page = list(drafts[: DRAFTS + 1])
        may_change = self.has_change_permission(request, journey)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Versions of “%(journey)s”") % {"journey": journey},
            "journey": journey,
            "versions": [(one, inside.get(one.pk, 0), summary(one)) for one in versions],
            "drafts": page[:DRAFTS],
            "older": page[DRAFTS - 1].revision if len(page) > DRAFTS else None,
            "may_change": may_change,
            "may_publish": may_change and request.user.has_perm("campaigns.publish_journey"),
            "urls": {name: self._url(name, journey) for name in ("change", "publish", "versions", "act")},
        }
        return TemplateResponse(request, "campaigns/versions.html", context)

    def _restore(self, request: HttpRequest, journey: Journey, revision: int) -> None:
        """The draft or version that the request names becomes the draft. Raises Stale; Http404 if there is none."""
        number = request.POST.get("draft") or request.POST.get("version") or ""
        which: dict[str, Any] = {"pk": None}
        if number.isascii() and number.isdigit() and len(number) < 10:
            which = {"revision" if "draft" in request.POST else "number": int(number)}
        if "draft" in request.POST:
            found: dict[str, Any] = {"draft": get_object_or_404(journey.drafts, **which)}
        else:
            found = {"version": get_object_or_404(journey.versions, **which)}
        draft = publishing.restore(journey=journey, by=request.user, now=timezone.now(), revision=revision, **found)
        messages.success(request, draft.message)


def _choices(request: HttpRequest) -> dict[str, dict[str, str]]:
    """What was chosen for single steps: `choice:rest` is `move:hello`, `exit` …, or empty: as everybody."""
    choices = {}
    for name, value in request.POST.items():
        if name.startswith("choice:") and value:
            do, _mark, to = str(value).partition(":")
            choices[name.removeprefix("choice:")] = {"do": do} | ({"to": to} if to else {})
    return choices


def rows(
    journey: Journey,
    sheet: Sheet,
    live: dict[str, Any],
    definition: dict[str, Any],
    choices: dict[str, Any],
) -> list[dict[str, Any]]:
    """What changes, step by step, as the page shows it: its look, who is there, and what may become of them."""
    changed = flow.changes(live, definition)
    by_key = {row.key: row for row in sheet.rows}
    # A step may be gone since long, and somebody still stand there.
    gone = [row.key for row in sheet.rows if row.here and row.change != "same" and row.key not in changed["removed"]]
    wrong = {problem.step_key: problem.message for problem in sheet.problems}
    steps = [(spec.key, _words(definition, spec.key)) for spec in graph.nodes(definition)[1:]] if sheet.rows else []
    found = []
    for change, keys in (
        ("added", changed["added"]),
        ("removed", changed["removed"]),
        ("changed", changed["changed"]),
        ("", [key for key in gone if key not in changed["changed"]]),
    ):
        for key in keys:
            row = by_key.get(key)
            where = definition if change in ("added", "changed") else _definition_with(journey, row, live)
            found.append(
                {
                    "key": key,
                    "change": change or (row.change if row else ""),
                    "look": drawing.look(_step(where, key)),
                    "row": row if row and change != "added" else None,
                    "people": _people(row) if row else [],
                    "options": _options(row, steps, choices.get(key), key in wrong)
                    if row and row.here and len(row.may) > 1
                    else [],
                    "problem": wrong.get(key, ""),
                }
            )
    return found


def _step(definition: dict[str, Any], key: str) -> dict[str, Any]:
    found = flow.find(definition, key)
    return found[0][found[1]] if found else {"key": key}


def _words(definition: dict[str, Any], key: str) -> str:
    return str(drawing.look(_step(definition, key))["name"])


def _definition_with(journey: Journey, row: Row | None, live: dict[str, Any]) -> dict[str, Any]:
    if row is None or flow.find(live, row.key):
        return live
    version = journey.versions.filter(number=row.versions[-1]).first()
    return version.definition if version else live


def _people(row: Row) -> list[str]:
    """Who is at the step, before it and past it, in words."""
    words = []
    if row.here.people:
        words.append(ngettext("%(count)d is here", "%(count)d are here", row.here.people) % {"count": row.here.people})
    if row.here.ghosts:
        words.append(
            ngettext("%(count)d held out is here", "%(count)d held out are here", row.here.ghosts)
            % {"count": row.here.ghosts}
        )
    if row.before != NOBODY:
        words.append(_("%(count)d before it") % {"count": row.before.all})
    if row.past != NOBODY:
        words.append(_("%(count)d past it") % {"count": row.past.all})
    return words


def _options(
    row: Row, steps: list[tuple[str, str]], chosen: dict[str, str] | None, is_wanted: bool
) -> list[dict[str, Any]]:
    """What may become of whoever stands at a step; where it must be said, what is likely meant is chosen already."""
    names = dict(steps)
    said = f"{chosen['do']}:{chosen['to']}" if chosen and "to" in chosen else chosen["do"] if chosen else ""
    if is_wanted and not said:
        said = f"move:{row.suggestion}" if row.suggestion is not None else "exit"
    options: list[tuple[str, str]] = []
    if row.may[0] == "carry_on":
        options.append(("", _("go on in the stream “%(name)s” at the next cast") % {"name": row.to or ""}))
    else:
        options += [("", _("as everybody")), ("finish", _("finish their version"))]
    if "release" in row.may:
        if row.suggestion is None:
            options.append(("release", _("stop waiting now; nothing follows")))
        else:
            name = names.get(row.suggestion, row.suggestion)
            options.append(("release", _("stop waiting now and go on at “%(name)s”") % {"name": name}))
    options.append(("exit", _("leave the journey")))
    options += [(f"move:{key}", _("move to “%(name)s”") % {"name": name}) for key, name in steps]
    return [{"value": value, "words": words, "is_chosen": value == said} for value, words in options]


def summary(version: JourneyVersion) -> str:
    """What a publish did to the people inside, in words; empty where nobody was."""
    done: dict[str, int] = {}
    for step in (version.sheet or {}).get("steps", []):
        count = step.get("done", {})
        done[step["do"]] = done.get(step["do"], 0) + count.get("people", 0) + count.get("ghosts", 0)
    words = {
        "move": ngettext("%(count)d moved", "%(count)d moved", done.get("move", 0)),
        "release": ngettext("%(count)d released", "%(count)d released", done.get("release", 0)),
        "exit": ngettext("%(count)d left", "%(count)d left", done.get("exit", 0)),
        "carry_on": ngettext("%(count)d carried on", "%(count)d carried on", done.get("carry_on", 0)),
        "finish": ngettext("%(count)d stayed", "%(count)d stayed", done.get("finish", 0)),
    }
    return " · ".join(text % {"count": done[do]} for do, text in words.items() if done.get(do))
