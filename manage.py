#!/usr/bin/env python
"""Django's command line; wrong settings and an absent database are one sentence, not a traceback."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "journey_crm.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db.utils import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except OperationalError as error:
        # Only when there is no connection at all; an error inside a statement has a code and keeps its traceback.
        if getattr(error.__cause__, "sqlstate", None):
            raise
        sys.exit(f"The database does not answer; is `make up` running? ({str(error).strip()})")
