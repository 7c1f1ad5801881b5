"""Brand, topics and templates as code."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.timezone import now as wall_clock

from contacts.definitions import DefinitionError, Section, check_keys, one_of, text, without_defaults
from messaging.channels import CHANNELS
from messaging.models import Brand, SignupForm, Template, Topic
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
                "opt": "in" if topic.is_opt_in else "out",
                "double_opt_in": topic.is_double_opt_in,
            },
            names={},
            description="",
            double_opt_in=False,
        )
        for topic in Topic.objects.order_by("key")
    }


def _write_topic(data: dict[str, Any]) -> None:
    # YAML 1.1 readers of other tools turn `opt: in` into text as we do; only the two words are allowed.
    check_keys(data, required=["key", "name", "opt"], optional=["names", "description", "double_opt_in"])
    is_opt_in = one_of(data, "opt", ["in", "out"]) == "in"
    is_double = flag(data, "double_opt_in")
    if is_double and not is_opt_in:
        raise DefinitionError("double_opt_in", "is for topics with `opt: in`.")
    Topic.objects.update_or_create(
        key=data["key"],
        defaults={
            "name": text(data, "name"),
            "names": data.get("names", {}),
            "description": text(data, "description"),
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
                body_keys[template.body_format]: template.body,
                "translations": template.translations,
                "repeatable": template.is_repeatable,
            },
            name="",
            topic=None,
            channel="email",
            language="en",
            subject="" if template.channel != "email" else None,
            preheader="",
            translations={},
            repeatable=False,
        )
        for template in Template.objects.select_related("topic").order_by("key")
    }


def _write_template(data: dict[str, Any]) -> None:
    check_keys(
        data,
        required=["key", "class", *(["subject"] if data.get("channel", "email") == "email" else [])],
        optional=[
            *("name", "topic", "channel", "subject", "language", "preheader", "translations", "repeatable"),
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
    translations = data.get("translations", {})
    for language, variant in translations.items():
        check_keys(variant, optional=["subject", "preheader", "body"], path=f"translations.{language}")
    template = Template.objects.filter(key=data["key"]).first() or Template(key=data["key"])
    template.name = text(data, "name")
    template.topic = topic
    template.message_class = one_of(data, "class", [name for name, _ in Template.CLASSES])
    template.channel = channel
    template.language = text(data, "language", "en")
    template.subject = text(data, "subject")
    template.preheader = text(data, "preheader")
    template.body_format = _BODIES[bodies[0]] if channel == "email" else "text"
    template.body = text(data, bodies[0])
    template.translations = translations
    template.is_repeatable = bool(data.get("repeatable", False))
    template.updated_at = wall_clock()
    try:
        template.full_clean()
    except ValidationError as error:
        _complain(error)
    template.save()


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
    Section("templates", _read_templates, _write_template),
    Section("forms", _read_forms, _write_form),
]
