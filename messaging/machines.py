"""Programs that look like people: robots, link scanners, image proxies."""

import re
from functools import lru_cache

from crawlerdetect import CrawlerDetect

_detector = CrawlerDetect()
# Mail programs that fetch pictures for the person in front of them, although lists of robots name some of them.
_MAIL_PROGRAMS = re.compile(r"Microsoft Outlook|MSOffice|Thunderbird|Apple-Mail|Mailbird|eM Client", re.IGNORECASE)
# Servers that fetch every picture, or keep it for everybody: Apple's names itself by nothing but this prefix.
_PROXIES = re.compile(
    r"GoogleImageProxy|ggpht\.com|YahooMailProxy|Proofpoint|Mimecast|Barracuda|Symantec|FireEye", re.IGNORECASE
)


@lru_cache(maxsize=4096)
def reason(method: str, user_agent: str, *, is_open: bool) -> str:
    """Why this request was made by a program, as far as it shows by itself; "" where it may be a person.

    `head` · `no_agent` · `proxy` (privacy and security proxies) · `robot`.
    """
    if method == "HEAD":
        return "head"
    agent = user_agent.strip()
    if not agent:
        return "no_agent"
    if _PROXIES.search(agent) or agent == "Mozilla/5.0":
        return "proxy"
    if is_open and _MAIL_PROGRAMS.search(agent):
        return ""
    return "robot" if _detector.is_crawler(agent) else ""
