"""API tokens: a 256-bit secret that is shown once and stored hashed, with scopes.

`track` is a write key, which may stand in a public web page. `admin` includes `sync`, and `sync` includes `read`;
`track` stands apart. A token never does more than its user may: the views ask both.
"""

import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, MethodNotAllowed, PermissionDenied
from rest_framework.permissions import BasePermission

from contacts.models import ApiToken
from contacts.sql import load

SQL = load(__file__)
_PREFIX_LENGTH = 11
_INCLUDES = {"admin": {"admin", "sync", "read"}, "sync": {"sync", "read"}, "read": {"read"}, "track": {"track"}}


def issue(
    *,
    user,
    scopes: Iterable[str],
    name: str = "",
    now: datetime,
    expires_at: datetime | None = None,
    origin: str = "",
    requests_per_minute: int | None = None,
    rows_per_minute: int | None = None,
) -> tuple[ApiToken, str]:
    """A new token and its secret, which nobody can read again. Raises ValueError for a scope that does not exist.

    `origin` names the partner system that will use it, as a slug; limits that are None are the usual ones.
    """
    if origin and not re.fullmatch(r"[a-zA-Z0-9_-]{1,50}", origin):
        raise ValueError(_("The name of a partner system has 1 to 50 letters, digits, hyphens or underscores."))
    scopes = list(dict.fromkeys(scopes))
    for scope in scopes:
        if scope not in ApiToken.SCOPES:
            raise ValueError(
                _("There is no scope “%(scope)s”; the scopes are %(scopes)s.")
                % {"scope": scope, "scopes": ", ".join(ApiToken.SCOPES)}
            )
    if not scopes:
        raise ValueError(_("A token needs at least one scope."))
    prefix = "jc_" + secrets.token_urlsafe(6)
    secret = prefix + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        prefix=prefix,
        digest=_digest(secret),
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
        origin=origin,
        requests_per_minute=requests_per_minute,
        rows_per_minute=rows_per_minute,
    )
    return token, secret


def find(secret: str, *, now: datetime) -> ApiToken | None:
    """The living token of a secret, with its user; None if unknown, revoked, expired, or its user may not log in.

    Notes the use, at most once a minute.
    """
    if not secret.isascii() or "\0" in secret:
        return None
    living = (
        ApiToken.objects.select_related("user")
        .filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None, user__is_active=True)
        .filter(prefix=secret[:_PREFIX_LENGTH])
    )
    return _proved(living, secret, now)


def find_key(secret: str, *, now: datetime) -> ApiToken | None:
    """The same without the user, for tracking calls: the ORM would work on it for as long as the call takes."""
    if not secret.isascii() or "\0" in secret:
        return None
    living = ApiToken.objects.raw(SQL["find_key"].sql, {"prefix": secret[:_PREFIX_LENGTH], "now": now})
    return _proved(living, secret, now)


def _proved(living: Iterable[ApiToken], secret: str, now: datetime) -> ApiToken | None:
    token = next(iter(living), None)
    if token is None or not secrets.compare_digest(token.digest, _digest(secret)):
        return None
    if token.used_at is None or now - token.used_at > timedelta(minutes=1):
        ApiToken.objects.filter(pk=token.pk).update(used_at=now)
    return token


def allows(token: ApiToken, scope: str) -> bool:
    """Whether any scope of the token is, or includes, this one."""
    return any(scope in _INCLUDES.get(one, ()) for one in token.scopes)


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`; `request.auth` is the ApiToken."""

    def authenticate(self, request):
        kind, _space, secret = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        token = find(secret.strip(), now=timezone.now())
        if token is None:
            raise AuthenticationFailed(_("This token is unknown, expired or revoked."))
        return token.user, token

    def authenticate_header(self, request):
        return "Bearer"


class HasScope(BasePermission):
    """Each view says per action what it takes; what is not said is refused.

    `needs = {"list": "read", "create": "sync contacts.add_contact"}`: the token's scope, then the permissions that its
    user must have. A need without a permission is only for querysets that are limited to what the user may see
    (`visible_to`). Views without actions use the method in small letters: `needs = {"get": "read"}`.
    """

    def has_permission(self, request, view) -> bool:
        if request.method not in view.allowed_methods:
            raise MethodNotAllowed(request.method)
        need = getattr(view, "needs", {}).get(getattr(view, "action", None) or request.method.lower())
        if request.auth is None or need is None:
            return False
        scope, *permissions = need.split()
        if not allows(request.auth, scope):
            raise PermissionDenied(_("This token does not have the scope “%(scope)s”.") % {"scope": scope})
        return request.user.has_perms(permissions)
