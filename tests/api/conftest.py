"""People and keys for the tests of the doors."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from contacts import tokens

NODE = Path(__file__).parent / "node"


@pytest.fixture
def admin(db):
    return User.objects.create_superuser("root", "root@example.com", "secret")


@pytest.fixture
def rep(db):
    """A sales rep: no right to see all contacts."""
    user = User.objects.create_user("rep", "rep@example.com", "secret")
    user.user_permissions.add(*Permission.objects.filter(codename="work_lead"))
    return user


@pytest.fixture
def bearer(db):
    """`bearer(user, "sync")`: the headers of a client with a new token."""

    def headers(user, *scopes: str) -> dict[str, str]:
        _token, secret = tokens.issue(user=user, scopes=scopes, now=timezone.now())
        return {"Authorization": f"Bearer {secret}"}

    return headers


@pytest.fixture
def write_key(admin) -> str:
    return tokens.issue(user=admin, scopes=["track"], now=timezone.now())[1]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The stock Node SDK, installed by its lock outside the tree; the next run finds it there."""
    for program in ("node", "npm"):
        assert shutil.which(program), (
            f"{program} was not found. The test of the Node SDK needs it (Debian: sudo apt-get install nodejs npm)."
        )
    lock = (NODE / "package-lock.json").read_bytes()
    place = Path.home() / ".cache" / "journey-crm" / f"node-{sha256(lock).hexdigest()[:12]}"
    if not (place / "ready").exists():
        place.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, place / name)
        done = subprocess.run(
            ["npm", "ci", "--omit=dev", "--ignore-scripts"], cwd=place, capture_output=True, text=True
        )
        assert done.returncode == 0, f"npm ci failed: {done.stderr}"
        (place / "ready").touch()
    return place / "node_modules"
