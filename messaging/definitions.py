"""Brand, topics and templates as code."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.timezone import now as wall_clock

from contacts.definitions import DefinitionError, Section, check_keys, one_of, percent, text, without_defaults
from messaging import blocks, utm
from messaging.channels import CHANNELS
from messaging.models import Brand, ReusableBlock, SignupForm, Template, Topic, UtmRules
from messaging.signup_forms import problems

_BODIES = {"body": "markdown", "mjml": "mjml", "html": "html", "blocks": "blocks"}


# What the brand keeps as it is written here; `messaging.brand_kit` says what may stand in each.
_KIT = ["colours", "fonts", "languages", "banned_words", "glossary", "tone", "legal"]


def _complain(error: ValidationError) -> None:
    field, messages = next(iter(error.message_dict.items()))
    raise DefinitionError("" if field == "__all__" else field, " ".join(messages)) from None


def flag(data: dict[str, Any], key: str, default: bool = False) -> bool:
    """The value of a key that must be true or false."""
    value = data.get(key, default)
    if not isinstance(value, bool):
        raise DefinitionError(key, f"must be true or false, not {value!r}.")
    return value


def _read_brand() -> dict[str, dict[str, Any]]:
    brand = Brand.objects.first()
    if brand is None:
        return {}
    return {
        "brand": without_defaults(
            {
                "name": brand.name,
                "from": brand.sender,
                "reply_to": brand.reply_to,
                "postal_address": brand.postal_address,
                "website": brand.website,
                "logo": brand.logo_url,
                "colours": brand.colours,
                "fonts": brand.fonts,
                "button_radius": brand.button_radius,
                "languages": brand.languages,
                "banned_words": brand.banned_words,
                "glossary": brand.glossary,
                "tone": brand.tone,
                "legal": brand.legal,
            },
            reply_to="",
            website="",
            logo="",
            colours={},
            fonts={},
            button_radius=Brand._meta.get_field("button_radius").default,
            languages=[],
            banned_words=[],
            glossary={},
            tone={},
            legal={},
        )
    }


def _write_brand(data: dict[str, Any]) -> None:
    check_keys(
        data,
        required=["name", "from", "postal_address"],
        optional=["reply_to", "website", "logo", "button_radius", *_KIT],
    )
    brand = Brand(
        pk=1,
        name=text(data, "name"),
        sender=text(data, "from"),
        reply_to=text(data, "reply_to"),
        postal_address=text(data, "postal_address"),
        website=text(data, "website"),
        logo_url=text(data, "logo"),
        **{name: data[name] for name in ("button_radius", *_KIT) if name in data},
    )
    try:
        brand.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        _complain(error)
    brand.save()


def _read_topics() -> dict[str, dict[str, Any]]:
    return {
        topic.key: without_defaults(
            {
                "key": topic.key,
                "name": topic.name,
                "names": topic.names,
                "description": topic.description,
                "descriptions": topic.descriptions,
                "opt": "in" if topic.is_opt_in else "out",
                "double_opt_in": topic.is_double_opt_in,
            },
            names={},
            description="",
            descriptions={},
            double_opt_in=False,
        )
        for topic in Topic.objects.order_by("key")
    }


def _write_topic(data: dict[str, Any]) -> None:
    # YAML 1.1 readers of other tools turn `opt: in` into text as we do; only the two words are allowed.
    check_keys(
        data, required=["key", "name", "opt"], optional=["names", "description", "descriptions", "double_opt_in"]
    )
    is_opt_in = one_of(data, "opt", ["in", "out"]) == "in"
    is_double = flag(data, "double_opt_in")
    if is_double and not is_opt_in:
        raise DefinitionError("double_opt_in", "is for topics with `opt: in`.")
    for name in ("names", "descriptions"):
        told = data.get(name, {})
        if not isinstance(told, dict) or not all(isinstance(one, str) for one in told.values()):
            raise DefinitionError(name, "must be texts by language, such as {cs: …}.")
    Topic.objects.update_or_create(
        key=data["key"],
        defaults={
            "name": text(data, "name"),
            "names": data.get("names", {}),
            "description": text(data, "description"),
            "descriptions": data.get("descriptions", {}),
            "is_opt_in": is_opt_in,
            "is_double_opt_in": is_double,
        },
    )


def _read_templates() -> dict[str, dict[str, Any]]:
    body_keys = {body_format: key for key, body_format in _BODIES.items()} | {"text": "body"}
    return {
        template.key: without_defaults(
            {
                "key": template.key,
                "name": template.name,
                "topic": template.topic.key if template.topic else None,
                "class": template.message_class,
                "channel": template.channel,
                "language": template.language,
                "subject": template.subject,
                "preheader": template.preheader,
                body_keys[template.body_format]: _body(template.body, template.body_format),
                "translations": {
                    language: _variant(variant, template.body_format)
                    for language, variant in template.translations.items()
                },
                "utm": template.utm,
                "repeatable": template.is_repeatable,
                "quiet_hours": template.quiet_hours,
                "holdout": f"{template.holdout}%",
            },
            name="",
            topic=None,
            channel="email",
            language="en",
            subject="" if template.channel != "email" else None,
            preheader="",
            translations={},
            utm={},
            repeatable=False,
            quiet_hours="default",
            holdout="0%",
        )
        for template in Template.objects.select_related("topic").order_by("key")
    }


def _body(body: str, body_format: str) -> Any:
    """A body as the file has it: blocks as a list."""
    if body_format != "blocks":
        return body
    try:
        return blocks.read(body)
    except blocks.BlocksError:
        return body  # as it was written, to be mended


def _variant(variant: dict[str, Any], body_format: str) -> dict[str, Any]:
    if body_format != "blocks" or not variant.get("body"):
        return variant
    return {
        **{name: text for name, text in variant.items() if name != "body"},
        "blocks": _body(variant["body"], "blocks"),
    }


def _read_body(data: dict[str, Any], key: str, path: str) -> str:
    """A body as it is stored. Raises DefinitionError with the path of a block that is wrong."""
    if key != "blocks":
        return text(data, key)
    if wrong := blocks.check(data[key], path=path):
        raise DefinitionError(wrong[0].path, wrong[0].sentence)
    return blocks.write(data[key])


def _read_translations(data: dict[str, Any], body_format: str) -> dict[str, Any]:
    """Translations as they are stored; those of blocks have `blocks:` in the place of `body:`."""
    found = {}
    for language, variant in data.items():
        path = f"translations.{language}"
        body_key = "blocks" if body_format == "blocks" else "body"
        check_keys(variant, optional=["subject", "preheader", body_key], path=path)
        found[language] = {name: value for name, value in variant.items() if name != "blocks"}
        if "blocks" in variant:
            found[language]["body"] = _read_body(variant, "blocks", f"{path}.blocks")
    return found


def _write_template(data: dict[str, Any]) -> None:
    check_keys(
        data,
        required=["key", "class", *(["subject"] if data.get("channel", "email") == "email" else [])],
        optional=[
            *("name", "topic", "channel", "subject", "language", "preheader", "translations", "utm", "repeatable"),
            *("quiet_hours", "holdout"),
            *_BODIES,
        ],
    )
    bodies = [key for key in _BODIES if key in data]
    if len(bodies) != 1:
        raise DefinitionError("body", f"give exactly one of {', '.join(_BODIES)}.")
    channel = one_of(data, "channel", CHANNELS, "email")
    if channel != "email" and bodies != ["body"]:
        raise DefinitionError(bodies[0], f"a message of the channel {channel} is plain text; write it as `body`.")
    topic = None
    if data.get("topic"):
        topic = Topic.objects.filter(key=data["topic"]).first()
        if topic is None:
            raise DefinitionError("topic", f"there is no topic {data['topic']!r}.")
    body_format = _BODIES[bodies[0]]
    translations = _read_translations(data.get("translations", {}), body_format)
    template = Template.objects.filter(key=data["key"]).first() or Template(key=data["key"])
    template.name = text(data, "name")
    template.topic = topic
    template.message_class = one_of(data, "class", [name for name, _ in Template.CLASSES])
    template.channel = channel
    template.language = text(data, "language", "en")
    template.subject = text(data, "subject")
    template.preheader = text(data, "preheader")
    template.body_format = body_format if channel == "email" else "text"
    template.body = _read_body(data, bodies[0], bodies[0])
    template.translations = translations
    template.utm = data.get("utm", {})
    template.is_repeatable = bool(data.get("repeatable", False))
    template.quiet_hours = one_of(data, "quiet_hours", [key for key, _ in Template.QUIET_HOURS], "default")
    template.holdout = percent(data.get("holdout", 0), "holdout")
    template.updated_at = wall_clock()
    try:
        template.full_clean()
    except ValidationError as error:
        _complain(error)
    template.save()


def _read_reusable() -> dict[str, dict[str, Any]]:
    return {
        one.key: without_defaults(
            {
                "key": one.key,
                "name": one.name,
                "language": one.language,
                "blocks" if one.body_format == "blocks" else "body": _body(one.body, one.body_format),
                "translations": {
                    language: _variant(variant, one.body_format) for language, variant in one.translations.items()
                },
            },
            name="",
            language="en",
            translations={},
        )
        for one in ReusableBlock.objects.order_by("key")
    }


def _write_reusable(data: dict[str, Any]) -> None:
    check_keys(data, required=["key"], optional=["name", "language", "body", "blocks", "translations"])
    bodies = [key for key in ("body", "blocks") if key in data]
    if len(bodies) != 1:
        raise DefinitionError("body", "give exactly one of body, blocks.")
    one = ReusableBlock.objects.filter(key=data["key"]).first() or ReusableBlock(key=data["key"])
    one.name, one.language = text(data, "name"), text(data, "language", "en")
    one.body_format = _BODIES[bodies[0]]
    one.body = _read_body(data, bodies[0], bodies[0])
    one.translations = _read_translations(data.get("translations", {}), one.body_format)
    one.updated_at = wall_clock()
    try:
        one.full_clean()
    except ValidationError as error:
        _complain(error)
    one.save()


def _read_utm() -> dict[str, dict[str, Any]]:
    rules = UtmRules.objects.first()
    if rules is None:
        return {}
    told = {name: getattr(rules, name) for name in utm.PARAMETERS}
    more = {"hosts": rules.hosts, "everywhere": rules.is_everywhere, "active": rules.is_active}
    return {"utm": without_defaults({**told, **more}, term="", hosts=[], everywhere=False, active=True)}


def _write_utm(data: dict[str, Any]) -> None:
    check_keys(data, optional=[*utm.PARAMETERS, "hosts", "everywhere", "active"])
    rules = UtmRules(
        pk=1,
        **{name: text(data, name) for name in utm.PARAMETERS},
        hosts=data.get("hosts", []),
        is_everywhere=flag(data, "everywhere"),
        is_active=flag(data, "active", True),
    )
    try:
        rules.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        _complain(error)
    rules.save()


def _read_forms() -> dict[str, dict[str, Any]]:
    return {
        form.key: without_defaults(
            {
                "key": form.key,
                "name": form.name,
                "topics": sorted(form.topics.values_list("key", flat=True)),
                "fields": form.fields,
                "wording": form.wording,
                "double_opt_in": form.is_double_opt_in,
                "thanks_url": form.thanks_url,
                "origins": form.origins,
                "open": form.is_active,
            },
            name="",
            fields=[],
            wording={},
            double_opt_in=True,
            thanks_url="",
            origins=[],
            open=True,
        )
        for form in SignupForm.objects.order_by("key")
    }


def _write_form(data: dict[str, Any]) -> None:
    check_keys(
        data,
        required=["key", "topics"],
        optional=["name", "fields", "wording", "double_opt_in", "thanks_url", "origins", "open"],
    )
    keys = data["topics"]
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise DefinitionError("topics", "must be a list of topics' keys.")
    topics = {topic.key: topic for topic in Topic.objects.filter(key__in=keys)}
    for key in keys:
        if key not in topics:
            raise DefinitionError("topics", f"there is no topic {key!r}.")
    told = {name: data.get(name, default) for name, default in (("fields", []), ("wording", {}), ("origins", []))}
    for name, sentence in problems(**told).items():
        raise DefinitionError(name, sentence)
    form = SignupForm.objects.filter(key=data["key"]).first() or SignupForm(key=data["key"])
    form.name, form.thanks_url = text(data, "name"), text(data, "thanks_url")
    form.fields, form.wording, form.origins = told["fields"], told["wording"], told["origins"]
    form.is_double_opt_in, form.is_active = flag(data, "double_opt_in", True), flag(data, "open", True)
    try:
        form.full_clean()
    except ValidationError as error:
        _complain(error)
    form.save()
    form.topics.set(topics.values())


SECTIONS = [
    Section("brand", _read_brand, _write_brand, is_single=True),
    Section("topics", _read_topics, _write_topic),
    Section("utm", _read_utm, _write_utm, is_single=True),
    Section("reusable_blocks", _read_reusable, _write_reusable),
    Section("templates", _read_templates, _write_template),
    Section("forms", _read_forms, _write_form),
]
