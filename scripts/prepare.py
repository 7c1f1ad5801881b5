#!/usr/bin/env python3
"""Prepares a bare machine, then hands over: `prepare.py up|test|browser|dev|install [arguments]`.

Only the standard library, and syntax that an old Python can read, so that it can say that it is too old.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
LOCKS = {
    "up": "requirements.txt",
    "install": "requirements.txt",
    "test": "requirements-test.txt",
    "browser": "requirements-test.txt",
    "dev": "requirements-dev.txt",
}
NEEDED_MB = 300
# What `make up EXTRAS=prediction` installs besides; once it is there, it is kept up to date without being named.
PREDICTION = "requirements-prediction.txt"
VENV_MB = {"requirements.txt": 400, PREDICTION: 600, "requirements-test.txt": 600, "requirements-dev.txt": 750}
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def lock_of(what):
    """The lock of a target, with the extra that was asked for or was installed before."""
    lock = LOCKS[what]
    if lock == "requirements.txt" and (
        "prediction" in (os.environ.get("EXTRAS") or "").split(",")
        or os.path.exists(os.path.join(VENV, "installed-" + PREDICTION))
    ):
        return PREDICTION
    return lock


def say(text):
    print(text, flush=True)


def refuse(sentence):
    """The end: one sentence, exit code 1."""
    sys.stderr.write(sentence + "\n")
    sys.exit(1)


def check_machine(lock):
    if sys.version_info < (3, 11):
        refuse(
            "Journey CRM needs Python 3.11 or newer, and this is %d.%d. Install one, or name it: make up PYTHON=…"
            % sys.version_info[:2]
        )
    free = shutil.disk_usage(ROOT).free // 2**20
    needed = NEEDED_MB + (0 if os.path.exists(PYTHON) else VENV_MB[lock])
    if free < needed:
        refuse(
            "There is not enough disk space: %d MB are free in %s, and at least %d MB are needed."
            % (free, ROOT, needed)
        )
    if not os.access(ROOT, os.W_OK):
        refuse("The folder %s is not writable for this user; clone the project into a folder of your own." % ROOT)


def check_addresses():
    """Before minutes of installing: would `up` refuse? It asks again, and knows more (.env, an earlier run)."""
    sys.path.insert(0, ROOT)
    from journey_crm.embedded import checks

    sentence = checks.port_sentence(os.environ.get("BIND") or "127.0.0.1", os.environ.get("PORT") or "8000")
    sentence = sentence or checks.folder_sentence(os.path.join(ROOT, os.environ.get("DATA_DIR") or ".data"))
    if sentence:
        refuse(sentence)


def run(argv, on_line=None):
    """Runs a program to its end, ended itself when we are; its exit code."""
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )

    def leave(signum, frame):
        child.terminate()
        child.wait()
        sys.exit(128 + signum)

    before = [(number, signal.signal(number, leave)) for number in (signal.SIGTERM, signal.SIGINT)]
    for line in child.stdout:
        if on_line:
            on_line(line.rstrip())
    child.wait()
    for number, handler in before:
        signal.signal(number, handler)
    return child.returncode


def make_venv():
    works = os.path.exists(PYTHON) and run([PYTHON, "-m", "pip", "--version"]) == 0
    if works:
        return
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        refuse(
            "This Python has no venv module. Install it (Debian, Ubuntu: apt-get install python3-venv), then try again."
        )
    say("Making a virtual environment in .venv …")
    words = []
    if run([sys.executable, "-m", "venv", "--clear", VENV], words.append) != 0:
        refuse(
            "The virtual environment could not be made (Debian, Ubuntu: apt-get install python3-venv): %s"
            % " ".join(words[-4:])
        )


def install(lock):
    """Installs the locked packages if the lock changed since the last time."""
    path = os.path.join(ROOT, lock)
    with open(path, "rb") as file:
        content = file.read()
    wanted = hashlib.sha256(content).hexdigest()
    stamp = os.path.join(VENV, "installed-" + lock)
    if os.path.exists(stamp):
        with open(stamp) as file:
            if file.read() == wanted:
                return
    total = sum(1 for line in content.splitlines() if b"==" in line and not line.startswith((b"#", b" ")))
    say("Installing %d locked packages (the first time takes a minute or two) …" % total)
    log_path = os.path.join(VENV, "install.log")
    seen = []
    with open(log_path, "w") as log:

        def show(line):
            log.write(line + "\n")
            if line.startswith(("Collecting ", "Requirement already satisfied: ")):
                seen.append(line)
                if line.startswith("Collecting "):
                    say("  %3d/%d  %s" % (len(seen), total, line.split(" (from")[0].replace("Collecting ", "")))
            elif line.startswith("Installing collected"):
                say("  putting them in place …")

        argv = [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--require-hashes",
            "-r",
            path,
        ]
        code = run(argv, show)
    if code != 0:
        with open(log_path) as log:
            errors = [line.strip() for line in log if "ERROR" in line]
        refuse(
            "The packages could not be installed; is this machine online? pip says: %s (all of it: %s)"
            % (" ".join(errors[-2:]) or "nothing", log_path)
        )
    with open(stamp, "w") as file:
        file.write(wanted)


def find_browser():
    """Path of a Chromium or Chrome: CHROMIUM, else one installed, else one that Playwright fetched; else None."""
    for name in (os.environ.get("CHROMIUM") or "",) + BROWSERS:
        if name and shutil.which(name):
            return shutil.which(name)
    for folder in ("~/.cache/ms-playwright", "~/Library/Caches/ms-playwright"):
        for parent, _, files in os.walk(os.path.expanduser(folder)):
            for name in ("chrome", "Chromium", "Google Chrome for Testing"):
                if name in files and os.access(os.path.join(parent, name), os.X_OK):
                    return os.path.join(parent, name)
    return None


def get_browser():
    if find_browser():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("Installing chromium for the browser tests …")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        run(["apt-get", "update", "-q"])
        words = []
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"], words.append)
        if find_browser():
            return
    refuse(
        "The browser tests need Chromium or Chrome, and none was found. Install one (Debian: sudo apt-get install "
        "chromium; Ubuntu: sudo .venv/bin/python -m playwright install --with-deps chromium; macOS: "
        "brew install --cask chromium), or name one by CHROMIUM=/path."
    )


def get_node():
    """Node and npm, for the test of the stock Node SDK."""
    if shutil.which("node") and shutil.which("npm"):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("Installing nodejs and npm for the test of the Node SDK …")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        run(["apt-get", "update", "-q"])
        words = []
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "nodejs", "npm"], words.append)
        if shutil.which("node") and shutil.which("npm"):
            return
    refuse(
        "The test of the Node SDK needs node and npm, and they were not found. Install them "
        "(Debian: sudo apt-get install nodejs npm; macOS: brew install node)."
    )


def main(what, arguments):
    lock = lock_of(what)
    check_machine(lock)
    if what == "up" and not os.path.exists(PYTHON):
        check_addresses()
    make_venv()
    install(lock)
    if what in ("test", "browser"):
        get_browser()
        get_node()
    sys.stdout.flush()
    os.chdir(ROOT)
    # Handing over by exec keeps one process: make's signals reach it and nobody else.
    if what == "up":
        os.execv(PYTHON, [PYTHON, "-u", os.path.join(ROOT, "manage.py"), "up"] + arguments)
    if what == "test":
        os.execv(PYTHON, [PYTHON, "-u", "-m", "pytest"] + arguments)
    say("Ready.")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in LOCKS:
        refuse("usage: prepare.py %s [arguments]" % "|".join(LOCKS))
    main(sys.argv[1], sys.argv[2:])
