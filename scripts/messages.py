"""`make messages`: collects what people read into `locale/` and compiles it; needs gettext on the developer's machine.

The compiled catalogues are committed, so that a bare machine runs without gettext. Nothing is guessed from similar
strings: a guess reads like a translation and says something else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import django
from django.core.management import call_command
from django.core.management.commands.makemessages import Command

LANGUAGES = ["cs", "pl"]
ROOT = Path(__file__).resolve().parent.parent
# Not ours, or read by developers only.
IGNORED = [".venv", "tests", "scripts", "node_modules", "test-results", ".data", "static-collected"]


class Collect(Command):
    msgmerge_options = [*Command.msgmerge_options, "--no-fuzzy-matching"]


def main() -> int:
    """Brings the catalogues up to date; answers 1 where a string waits for its translation."""
    if not shutil.which("msgfmt"):
        print("gettext is missing; on Debian: apt-get install -y gettext", file=sys.stderr)
        return 1
    os.chdir(ROOT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "journey_crm.settings")
    django.setup()
    call_command(Collect(), locale=LANGUAGES, ignore_patterns=IGNORED, no_location=True, no_wrap=True, no_obsolete=True)
    waiting = 0
    for catalogue in sorted((ROOT / "locale").rglob("*.po")):
        subprocess.run(["msgfmt", "--check", "-o", catalogue.with_suffix(".mo"), catalogue], check=True)
        words = ["msgattrib", "--untranslated", "--no-wrap", str(catalogue)]
        missing = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        if "\nmsgid " in missing:
            print(f"{catalogue}: these wait for a translation\n{missing}")
            waiting += 1
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main())
