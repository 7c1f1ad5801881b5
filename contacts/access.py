"""Whose contacts may a person see who may not see all? Each app adds its answer; nobody adds, nobody sees."""

from collections.abc import Callable

from django.db.models import Q

_scopes: list[Callable[..., Q]] = []


def open_to(scope: Callable[..., Q]) -> None:
    """Registers a function `user -> Q over Contact`; call it from `AppConfig.ready`."""
    _scopes.append(scope)


def scope(user) -> Q:
    """The contacts that any registered scope opens to this user; none if no scope does."""
    allowed = Q(pk__in=[])
    for one in _scopes:
        allowed |= one(user)
    return allowed
