"""What a mail server's answer means for an address: the one definition of classes, for answers while we are connected
and for reports that come later.

`hard`: there is no such address · `policy`: they do not want this mail, or mail from us; the address may be fine ·
`soft`: not now, or not in this box · `unknown`: refused for good, and it does not say why.
"""

import re

HARD, POLICY, SOFT, UNKNOWN = "hard", "policy", "soft", "unknown"

# Enhanced status codes (RFC 3463). What stands in a longer run of digits is a version, an address or a date.
_ENHANCED = re.compile(r"(?<![\w./])([245]\.\d{1,3}\.\d{1,3})(?![\w/-]|[.:]\d)")
_REPLY = re.compile(r"(?<![\w.@:/-])([45]\d\d)(?=[ -]|$)")
# So much of an answer is looked at.
_LONGEST = 2000

# The address itself. 5.1.7 and 5.1.8 are about the sender's.
_NO_SUCH_ADDRESS = {(1, 1), (1, 2), (1, 3), (1, 6), (1, 10)}
# 5.7: security and policy; 5.6: the content; 5.1.7, 5.1.8: our own address; 5.2.3, 5.3.4: too large.
_NOT_THIS_MAIL = {(1, 7), (1, 8), (2, 3), (3, 4)}

# Only where there is no enhanced code: what common servers write behind a bare 550. Policy first, for "user unknown"
# stands in the advice of many a block.
_WORDS = {
    POLICY: ("spam", "blocked", "blacklist", "block list", "blocklist", "policy", "reputation", "dmarc", "spf ", "dkim",
             "banned", "not authorized", "not authorised", "relay", "virus"),
    SOFT: ("quota", "mailbox full", "mailbox is full", "out of storage", "insufficient system storage", "try again",
           "temporar"),
    HARD: ("user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "no mailbox here",
           "unknown recipient", "recipient unknown", "unknown mailbox", "user doesn't exist", "user does not exist",
           "mailbox not found", "recipient not found", "user not found", "address unknown", "unrouteable address",
           "invalid recipient", "invalid mailbox", "no longer exists", "account does not exist"),
}  # fmt: skip


def code_of(answer: str) -> str:
    """The enhanced status code in an answer, such as "5.1.1"; "" where there is none."""
    found = ""
    for match in _ENHANCED.finditer(answer[:_LONGEST]):
        code = ".".join(str(int(one)) for one in match[1].split("."))
        # 5.0.0 says no more than that it failed; a better one may follow.
        if not code.endswith(".0.0"):
            return code
        found = found or code
    return found


def reply_of(answer: str) -> str:
    """The three digits of an SMTP reply in an answer; "" where there are none."""
    match = _REPLY.search(answer[:_LONGEST])
    return match[1] if match else ""


def class_of(answer: str, status: str = "") -> tuple[str, str]:
    """(class, code) of a refusal. `status` is the Status field of a report, which the answer may say more exactly.

    The code is the enhanced one, else the reply's three digits, else "". Words count only where there is no code.
    """
    told, said = code_of(status), code_of(answer)
    code = said if said and (not told or told.endswith(".0.0")) else told
    first, _, rest = code.partition(".")
    if first == "4":
        return SOFT, code
    if first == "5" and rest != "0.0":
        subject, detail = (int(one) for one in rest.split("."))
        if (subject, detail) in _NO_SUCH_ADDRESS:
            return HARD, code
        if subject in (6, 7) or (subject, detail) in _NOT_THIS_MAIL:
            return POLICY, code
        if subject in (2, 3, 4):
            return SOFT, code
        # 5.1.0, 5.5.0 and the like: the words may tell.
    reply = reply_of(answer)
    if not code and reply[:1] == "4":
        return SOFT, reply
    return _by_words(answer), code or reply


def _by_words(answer: str) -> str:
    words = answer[:_LONGEST].lower()
    for kind, phrases in _WORDS.items():
        if any(phrase in words for phrase in phrases):
            return kind
    return UNKNOWN


def is_no_such_address(answer: str) -> bool:
    """Did a server tell us, while we were connected, that there is no such address?"""
    return answer[:1] != "4" and class_of(answer)[0] == HARD
