"""The least that Django can do on our web server: one view that answers nothing, and no middleware at all.

`manage.py` never reads this module: granian imports it in workers of its own, where it sets the settings.
"""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

PATH = "/empty/"


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={"Content-Length": "0"})


urlpatterns = [path(PATH[1:], empty)]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "journey_crm.settings")
settings.MIDDLEWARE = []
settings.ROOT_URLCONF = __name__
application = get_wsgi_application()
