import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from django.core.management.base import BaseCommand, CommandError

from journey_crm.benches import NAMES, Result, scratch_database


class Command(BaseCommand):
    help = "Runs one benchmark, or `all`, in a scratch database: ours beside the limit, and their ratio."

    def add_arguments(self, parser):
        parser.add_argument("name", metavar="NAME", nargs="?", default="all", help="; ".join(["all", *NAMES]))
        parser.add_argument("--rows", type=int, help="how many; each bench has its own default")
        parser.add_argument("--json", action="store_true", help="print JSON, one object a line")

    def handle(self, *args, **options):
        names = NAMES if options["name"] == "all" else [options["name"]]
        if options["rows"] is not None and options["rows"] < 100:
            raise CommandError("--rows must be at least 100.")
        for name in names:
            if name not in NAMES:
                raise CommandError(f"There is no bench {name}; there are {', '.join(NAMES)}.")
        with _ends_once():
            for name in names:
                module = import_module(f"journey_crm.benches.{name}")
                self.stderr.write(f"{name}: making a scratch database …")
                with scratch_database():
                    result = module.run(options["rows"] or module.ROWS, lambda text: self.stderr.write(f"  {text}"))
                self.stdout.write(_as_json(result) if options["json"] else _as_text(result))


@contextmanager
def _ends_once() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run once: a second of them does not end the tidying up."""

    def end(number, frame):
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("Stopped; the scratch database is gone.", returncode=130) from None
    finally:
        for one, was in before.items():
            signal.signal(one, was)


def _as_json(result: Result) -> str:
    line = {
        "name": result.name, "unit": result.unit, "rows": result.rows, "ours": round(result.ours),
        "limit": round(result.limit), "ratio": round(result.ratio, 3), "goal": result.goal,
        "limit_is": result.limit_is, "notes": result.notes,
    }  # fmt: skip
    return json.dumps(line)


def _as_text(result: Result) -> str:
    verdict = "reached" if result.ratio >= result.goal else "not reached"
    lines = [
        f"{result.name:<9} {result.ours:>10,.0f} {result.unit} · limit {result.limit:>10,.0f} ({result.limit_is}) · "
        f"ratio {result.ratio:.2f} · goal {result.goal} {verdict}"
    ]
    for name, value in result.notes.items():
        lines.append(f"{'':<10}{name}: {value:,}" if isinstance(value, int) else f"{'':<10}{name}: {value}")
    return "\n".join(lines)
