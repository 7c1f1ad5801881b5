"""Keeps children running: one that ends is started again, later each time; a line says so."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from journey_crm.embedded.place import Refusal
from journey_crm.embedded.processes import Child

# After this long a child counts as healthy again.
HEALTHY_SECONDS = 60
LONGEST_PAUSE = 30


@dataclass
class Watched:
    """One child, how to get it running again, and how often that was needed lately."""

    child: Child
    restart: Callable[[], None]
    failures: int = 0
    started: float = field(default_factory=time.monotonic)
    due: float | None = None
    log_position: int = 0


class Supervisor:
    """Looks at its children a few times a second."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.watched: list[Watched] = []
        self._next_look_at_logs = 0.0

    def watch(self, child: Child, restart: Callable[[], None]) -> None:
        log = child.log
        self.watched.append(Watched(child, restart, log_position=log.stat().st_size if log.exists() else 0))

    def run(self) -> None:
        """For ever; ended by an exception from a signal handler."""
        while True:
            self.look()
            time.sleep(0.25)

    def look(self) -> None:
        """One round over all children."""
        now = time.monotonic()
        for one in self.watched:
            child = one.child
            if one.due is None and child.exit_code is not None:
                if now - one.started > HEALTHY_SECONDS:
                    one.failures = 0
                pause = min(LONGEST_PAUSE, 2**one.failures - 1)
                one.failures += 1
                one.due = now + pause
                # Its own children may outlive it, and would hold its port or its place.
                child.sweep()
                how = f"signal {-child.exit_code}" if child.exit_code < 0 else f"code {child.exit_code}"
                when = f"in {pause} s" if pause else "now"
                self.say(f"{child.name} ended ({how}); it is started again {when}. Its log: {child.log}")
            elif one.due is not None and now >= one.due:
                one.due, one.started = None, now
                try:
                    one.restart()
                except Refusal as refusal:
                    self.say(f"{child.name}: {refusal}")
                    one.due = now + LONGEST_PAUSE
        if now >= self._next_look_at_logs:
            self._next_look_at_logs = now + 10
            self._summarise_logs()

    def _summarise_logs(self) -> None:
        for one in self.watched:
            child = one.child
            if not child.log.exists():
                continue
            size = child.log.stat().st_size
            if size < one.log_position:  # a fresh file
                one.log_position = 0
            with open(child.log, "rb") as log:
                log.seek(one.log_position)
                new = log.read(1_000_000).decode(errors="replace")
            one.log_position = size
            errors = [line for line in new.splitlines() if " ERROR" in line or "CRITICAL" in line or "[error" in line]
            if errors:
                self.say(f"{child.name}: {len(errors)} new errors in {child.log}; the last: {errors[-1][:160]}")
