"""PostgreSQL and Valkey together: started once for everybody who shares a DATA_DIR, stopped by whoever started them."""

import time
from pathlib import Path
from types import TracebackType

from journey_crm.embedded import processes
from journey_crm.embedded.place import Ownership, Refusal
from journey_crm.embedded.postgres import Postgres
from journey_crm.embedded.valkey import Valkey


class Stores:
    """The embedded servers that are wanted (those without a URL of their own).

    As a context manager: joins the servers of a living owner, else becomes the owner, starts them and stops them at the
    end. Of several that begin at once exactly one starts them.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        purpose: str,
        has_postgres: bool = True,
        has_valkey: bool = True,
        is_durable: bool = True,
    ) -> None:
        self.data_dir, self.purpose = data_dir, purpose
        self.ownership = Ownership(data_dir)
        self.servers: list[Postgres | Valkey] = []
        self.is_owner = False
        if has_postgres:
            self.servers.append(Postgres(data_dir, is_durable=is_durable))
        if has_valkey:
            self.servers.append(Valkey(data_dir))

    def own(self) -> bool:
        """Whether we are the owner from now on."""
        self.is_owner = self.ownership.take(self.purpose)
        return self.is_owner

    def start(self) -> None:
        """For the owner."""
        for server in self.servers:
            server.start()

    def __enter__(self) -> "Stores":
        deadline = time.monotonic() + 120
        while not self.own():
            if all(server.answers() for server in self.servers):
                return self
            if time.monotonic() > deadline:
                raise Refusal(f"{self.ownership.holder()} holds {self.data_dir}, but its servers do not answer.")
            time.sleep(0.05)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.is_owner:
            self.stop()

    def stop(self) -> None:
        """Stops what we started, within about 4 s, and lets go of the DATA_DIR."""
        children = [server.child for server in self.servers if server.child.pid]
        # One that has to be killed recovers from its log at the next start.
        processes.stop(children, 3)
        self.ownership.release()
        self.is_owner = False
