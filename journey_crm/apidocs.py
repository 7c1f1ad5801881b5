"""`/api/docs/`: the OpenAPI document as a page, written by us: it loads nothing from elsewhere and needs no script."""

from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.generators import SchemaGenerator


class StrictScheme(OpenApiSerializerExtension):
    """How the OpenAPI document says that a serializer takes no other fields."""

    target_class = "contacts.rest.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**schema, "additionalProperties": False}


def anything_may_be_null(result: Any, **_more: Any) -> Any:
    """“Any JSON, or null” fits null twice, and `oneOf` allows but one: any JSON says it."""
    if isinstance(result, dict):
        if result.get("oneOf") == [{}, {"type": "null"}]:
            del result["oneOf"]
        for one in result.values():
            anything_may_be_null(one)
    elif isinstance(result, list):
        for one in result:
            anything_may_be_null(one)
    return result


_METHODS = ("get", "post", "put", "patch", "delete")


def docs(request: HttpRequest) -> HttpResponse:
    """The page: resources in the order of the document, each with its calls, parameters and answers."""
    return render(request, "api_docs.html", {"resources": _resources(get_language())})


@cache
def _resources(language: str | None) -> list[dict[str, Any]]:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    schemas = schema.get("components", {}).get("schemas", {})
    resources: dict[str, list[dict[str, Any]]] = {}
    for path, calls in schema["paths"].items():
        for method in _METHODS:
            if method in calls:
                name = path.removeprefix("/api/v1/").partition("/")[0]
                resources.setdefault(name, []).append(_call(path, method, calls[method], schemas))
    return [{"name": name, "calls": calls} for name, calls in resources.items()]


def _call(path: str, method: str, call: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    answers = [
        (status, _described(_content(answer), schemas)) for status, answer in sorted(call.get("responses", {}).items())
    ]
    return {
        "path": path,
        "method": method.upper(),
        "summary": call.get("description", ""),
        "parameters": [
            {
                "name": one["name"],
                "where": one["in"],
                "type": _kind(one.get("schema", {})),
                "needed": one.get("required"),
            }
            for one in call.get("parameters", [])
        ],
        "body": _described(_content(call.get("requestBody", {})), schemas),
        "answers": answers,
    }


def _content(part: dict[str, Any]) -> dict[str, Any]:
    contents: dict[str, dict] = part.get("content", {})
    return next(iter(contents.values()), {}).get("schema", {})


def _described(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any] | None:
    """What a body holds: its name, and its fields with their types."""
    if not schema:
        return None
    named = schema
    if "results" in schemas.get(_name(schema), {}).get("properties", {}):
        named = schemas[_name(schema)]["properties"]["results"]
    named = named.get("items", named)
    properties = schemas.get(_name(named), named).get("properties", {})
    return {
        "name": _kind(schema),
        "fields": [
            {
                "name": name,
                "type": _kind(one),
                "is_read_only": one.get("readOnly", False),
                "choices": one.get("enum") or schemas.get(_name(one), {}).get("enum") or [],
            }
            for name, one in properties.items()
        ],
    }


def _name(schema: dict[str, Any]) -> str:
    reference = schema.get("$ref") or next((one.get("$ref") for one in schema.get("allOf", [])), None)
    return reference.rpartition("/")[2] if reference else ""


def _kind(schema: dict[str, Any]) -> str:
    if name := _name(schema):
        return name
    if schema.get("type") == "array":
        return f"[{_kind(schema.get('items', {}))}]"
    kinds = schema.get("type", "any")
    kind = " | ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return f"{kind} ({schema['format']})" if "format" in schema else kind
