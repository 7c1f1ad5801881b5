"""`manage.py token USERNAME`: a key for a client."""

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from contacts import tokens


class Command(BaseCommand):
    help = "Makes an API token and prints it, once: it is stored hashed and cannot be shown again."

    def add_arguments(self, parser):
        parser.add_argument("username")
        parser.add_argument(
            "--scope",
            default="read",
            help="separated by commas: track, sync, read, admin; admin includes sync, which includes read",
        )
        parser.add_argument("--name", default="", help="what it is for, to recognise it later")
        parser.add_argument("--origin", default="", help="the partner system that uses it, such as hubspot")

    def handle(self, *, username, scope, name, origin, **options):
        users = get_user_model().objects
        try:
            user = users.get(username=username, is_active=True)
        except users.model.DoesNotExist:
            raise CommandError(f"There is no active user “{username}”.") from None
        scopes = [one.strip() for one in scope.split(",") if one.strip()]
        try:
            _token, secret = tokens.issue(user=user, scopes=scopes, name=name, origin=origin, now=timezone.now())
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(secret)
