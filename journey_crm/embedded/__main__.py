"""`python -m journey_crm.embedded COMMAND…` runs a command with the embedded servers up.

They are those of a running `make up`, else its own, which end with it.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from journey_crm import env
from journey_crm.embedded.place import Refusal
from journey_crm.embedded.stores import Stores


def main(command: list[str]) -> int:
    root = Path(__file__).resolve().parent.parent.parent
    env.read_dotenv(root / ".env")
    data_dir = (root / env.text("DATA_DIR", ".data")).resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Stores(
            data_dir,
            purpose=" ".join(command),
            has_postgres=not env.text("DATABASE_URL"),
            has_valkey=not env.text("CELERY_BROKER_URL"),
        ):
            child = subprocess.Popen(command, env={**os.environ, "DATA_DIR": str(data_dir)})
            try:
                return child.wait()
            except BaseException:
                child.terminate()
                child.wait()
                raise
    except Refusal as refusal:
        print(refusal, file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
