"""One written form for every handle of a person, used wherever two of them are compared.

Two writings of the same address must not become two people, and two people must never become one: so case, spaces and
the form of a domain are levelled, and nothing that a mail server could tell apart (dots, `+tag`) is.
"""

import re
import unicodedata

import phonenumbers
from django.utils.text import slugify
from django.utils.translation import gettext as _
from email_validator import EmailNotValidError, validate_email

# An index entry has to fit into a third of a database page.
LONGEST = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")


# Most addresses: plain letters in a domain of two or three parts, which the long way would leave as they are.
_PLAIN = re.compile(
    r"[a-z0-9_+]+(?:[.-][a-z0-9_+]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.){1,2}(?:com|net|org|eu|cz|pl|sk|de|at|uk)"
)


# Most numbers: Czech, Slovak and Polish ones in full.
_PLAIN_PHONE = re.compile(r"\+4(?:20|21|8)[1-9][0-9]{8}")


def is_normal(kind: str, value: object) -> bool:
    """Whether this is surely an address or a number in its written form already: asked of millions, so in a glance."""
    if type(value) is not str:
        return False
    if kind == "email":
        return len(value) <= 64 and "--" not in value and _PLAIN.fullmatch(value) is not None
    return kind == "phone" and _PLAIN_PHONE.fullmatch(value) is not None


def normalise(kind: str, value: str, *, region: str = "CZ") -> str:
    """The one written form of a handle.

    `kind` is email, user_id, anonymous_id, phone, or a client's own. `region` is the country whose numbers are written
    without a country code. Raises ValueError with a sentence for people where the value can not be such a handle.
    """
    if not isinstance(value, str):
        raise ValueError(_("The value must be a text."))
    text = value.strip()
    if not text:
        raise ValueError(_("The value is empty."))
    if len(text) > LONGEST:
        raise ValueError(_("The value is longer than %(longest)d characters.") % {"longest": LONGEST})
    if _CONTROL.search(text):
        raise ValueError(_("The value contains invisible characters."))
    if kind == "email":
        return _email(text)
    if kind == "phone":
        return _phone(text, region)
    # What a client calls its people is the client's own affair: two ids that differ in case are two.
    return text


def normalise_kind(name: str) -> str:
    """The name of a client's own kind of handle, as a slug. Raises ValueError where nothing is left of it."""
    if name in ("email", "user_id", "anonymous_id", "phone"):
        return name
    kind = slugify(name).replace("-", "_")
    if not kind or len(kind) > 64:
        raise ValueError(_("A kind of identity is 1 to 64 letters, digits or underscores."))
    return kind


# Mail for everybody: an address there says nothing of where somebody works.
FREE_MAIL = frozenset(
    """
    aol.com arcor.de atlas.cz autograf.pl azet.sk bluewin.ch bol.com.br btinternet.com centrum.cz centrum.sk comcast.net
    email.cz fastmail.com free.fr freemail.hu freenet.de gazeta.pl gmail.com gmx.at gmx.ch gmx.com gmx.de gmx.net go2.pl
    googlemail.com hey.com hotmail.co.uk hotmail.com hotmail.de hotmail.fr hotmail.it icloud.com inbox.lv interia.eu
    interia.pl laposte.net libero.it live.com live.co.uk live.de live.fr mac.com mail.com mail.de mail.ru mailbox.org
    me.com msn.com naver.com o2.pl onet.eu onet.pl op.pl orange.fr outlook.com outlook.cz outlook.de outlook.fr pobox.sk
    poczta.fm poczta.onet.pl post.cz post.sk posteo.de proton.me protonmail.ch protonmail.com qq.com rediffmail.com
    rocketmail.com seznam.cz sfr.fr stonline.sk t-online.de tiscali.cz tiscali.it tlen.pl tutanota.com ukr.net
    virgilio.it volny.cz wanadoo.fr web.de wp.eu wp.pl yahoo.ca yahoo.co.in yahoo.co.jp yahoo.co.uk yahoo.com yahoo.de
    yahoo.es yahoo.fr yahoo.it yahoo.pl yandex.com yandex.ru ymail.com zoho.com zoznam.sk 126.com 163.com
    """.split()  # noqa: SIM905
)


def normalise_domain(text: str) -> str:
    """The one written form of a company's domain: of an address on the web, its host without www, in ASCII; "" of none.

    Raises ValueError with a sentence for what can be no domain.
    """
    host = unicodedata.normalize("NFKC", text).strip().lower()
    host = re.sub(r"^[a-z][a-z0-9+.-]*://", "", host)
    host = re.sub(r"[/:?#].*$", "", host, flags=re.DOTALL).rpartition("@")[2].strip(". ")
    host = host.removeprefix("www.")
    if not host:
        return ""
    if not host.isascii():
        # As in an address, of which it is the second half.
        try:
            host = _email(f"x@{host}").partition("@")[2]
        except ValueError:
            host = ""
    if len(host) > LONGEST or not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", host):
        raise ValueError(_("This is not a domain such as example.com."))
    return host


def _email(text: str) -> str:
    lowered = text.lower()
    if text.isascii() and "--" not in lowered and len(lowered) <= 64 and _PLAIN.fullmatch(lowered):
        return lowered
    text = unicodedata.normalize("NFKC", text).strip()
    try:
        address = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(_("This is not an e-mail address: %(reason)s") % {"reason": str(error)}) from None
    # No mail server of today tells Ann@ from ann@, and people write both. The domain is compared in its ASCII form.
    # A sigma at the end of a Greek word is the same letter.
    written = f"{address.local_part.lower().replace('ς', 'σ')}@{address.ascii_domain.lower()}"
    if len(written) > LONGEST:
        raise ValueError(_("The value is longer than %(longest)d characters.") % {"longest": LONGEST})
    return written


def _phone(text: str, region: str) -> str:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise ValueError(_("This is not a telephone number.")) from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError(_("This telephone number is too short or too long."))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
