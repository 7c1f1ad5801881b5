"""What granian serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "journey_crm.settings")
django = get_wsgi_application()

# Only now are the models there that it reads.
from messaging.front import Front  # noqa: E402

application = Front(django)
