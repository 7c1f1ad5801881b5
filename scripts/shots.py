"""Takes pictures of screens: `python -m scripts.shots --user boss --password … --out pictures /admin/ /sales/`.

The server must be running. Every path is taken wide and narrow, light and dark; `--quick` takes it wide and light only.
It also says what the browser complained about, such as a violated Content-Security-Policy, and which page is too wide.
"""

import argparse
import os
import re
import sys
from itertools import product
from pathlib import Path

from playwright.sync_api import sync_playwright

from scripts.prepare import find_browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
SIZES = {"wide": (1440, 900), "narrow": (390, 844)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="+", metavar="PATH", help="such as /admin/")
    parser.add_argument("--server", default="http://localhost:8000")
    parser.add_argument("--user", default="", help="log in as this user; empty: take the pages without log-in")
    parser.add_argument("--password", default=os.environ.get("SHOTS_PASSWORD", ""), help="or SHOTS_PASSWORD")
    parser.add_argument("--language", default="en", choices=["en", "cs", "pl"])
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    parser.add_argument("--quick", action="store_true", help="wide and light only")
    parser.add_argument("--whole", action="store_true", help="the whole page, not only the window")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    program = find_browser()
    if program is None:
        print("No Chromium or Chrome was found.", file=sys.stderr)
        return 1
    asked.out.mkdir(parents=True, exist_ok=True)
    complaints: list[str] = []
    looks = [("wide", "light")] if asked.quick else list(product(SIZES, ["light", "dark"]))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        state = None
        for size, scheme in looks:
            width, height = SIZES[size]
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                locale=asked.language,
                reduced_motion="reduce",
                storage_state=state,
            )
            page = context.new_page()
            page.on(
                "console",
                lambda message: complaints.append(f"{message.text}") if message.type == "error" else None,
            )
            if asked.user and state is None:
                page.goto(f"{asked.server}/admin/login/")
                page.fill("[name=username]", asked.user)
                page.fill("[name=password]", asked.password)
                page.click("#login-form button")
                state = context.storage_state()
            for path in asked.paths:
                answer = page.goto(f"{asked.server}{path}", wait_until="load")
                name = re.sub(r"\W+", "-", path).strip("-") or "root"
                file = asked.out / f"{name}.{size}.{scheme}.{asked.language}.png"
                page.screenshot(path=file, full_page=asked.whole)
                print(f"{file}  {answer.status if answer else ''}")
                if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    complaints.append(f"{path} is wider than the window ({size}).")
            context.close()
        browser.close()
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
