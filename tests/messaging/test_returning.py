"""Where mail comes back to: the return path, the mailbox, a mail server's pipe. Each mail has its effect once."""

import mailbox
import socketserver
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from contacts.erasure import erase
from contacts.models import Consent
from messaging import returning, tokens
from messaging.bounces import mailboxes
from messaging.bounces.returnpath import message_among
from messaging.models import Feedback, MailboxNote, Message, ReturnedMail, Suppression
from tests.messaging.test_bounce_reading import EXPECTED, mail

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def sent(make_message, now) -> Message:
    message = make_message()
    Message.objects.filter(pk=message.pk).update(
        state="sent", sent_at=now - HOUR, claimed_at=now - HOUR, address=message.contact.email
    )
    message.refresh_from_db()
    return message


def signs(message) -> dict[str, str]:
    return {
        "sign": f"m{message.pk}.{tokens.first().message_tag(message.pk)}",
        "link": tokens.current().token(tokens.PERSON, message.pk, message.contact_id),
    }


# Whose it is ---------------------------------------------------------------------------------------------------------


def test_without_a_bounce_address_mail_comes_back_to_the_brand(smtp_sink, make_message, send):
    make_message()
    send()
    assert smtp_sink.mails[0].sender == "hello@acme.example"


def test_with_one_the_return_path_says_which_message_it_was(smtp_sink, make_message, send, settings):
    settings.BOUNCE_ADDRESS = "bounces@acme.example"
    message = make_message()
    send()
    path = smtp_sink.mails[0].sender
    assert path.startswith(f"bounces+m{message.pk}.") and path.endswith("@acme.example")
    assert message_among([path.partition("+")[2].partition("@")[0]], tokens.first()) == message.pk
    # What the reader sees stays the brand's.
    assert smtp_sink.mails[0]["From"] == "Acme <hello@acme.example>"


def test_a_sign_of_one_message_is_none_of_another(sent):
    sign, link = signs(sent).values()
    first = tokens.first()
    assert message_among([sign], first) == message_among([link], first) == sent.pk
    assert message_among([sign.replace(f"m{sent.pk}.", f"m{sent.pk + 1}.")], first) is None
    assert message_among([sign[:-1] + ("0" if sign[-1] != "0" else "1"), "A" * 40], first) is None


# What becomes of it --------------------------------------------------------------------------------------------------

EFFECT = {"hard": "hard", "soft": "soft", "policy": "policy", "unknown": "unknown", "complaint": "complaint",
          "delivered": "delivered"}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_each_mail_of_the_corpus_has_its_effect_and_no_other(sent, name, now):
    returning.keep([mail(name, **signs(sent))], source="hook", now=now)
    assert returning.read_waiting(now=now) == 1
    kind, *rest = EXPECTED[name].split()
    is_ours = "*" not in rest
    feedback = Feedback.objects.values_list("verdict", flat=True).first()
    assert feedback == (EFFECT.get(kind) if is_ours else None)
    suppressed = {"hard": "bounced", "complaint": "complained"}.get(kind) if is_ours else None
    assert Suppression.objects.values_list("reason", flat=True).first() == suppressed
    assert Consent.objects.filter(topic="", channel="email", state="denied").exists() == (
        is_ours and kind in ("complaint", "unsubscribed")
    )
    row = ReturnedMail.objects.get()
    quiet = ("automatic", "delayed", "other")
    assert row.state == ("dead" if kind == "-" or not is_ours else "ignored" if kind in quiet else "handled")
    # Only what a person must look at is kept.
    assert bool(row.raw) == (row.state == "dead")


def test_a_mail_is_handled_once_however_often_and_wherever_it_comes(sent, now):
    raw = mail("03-mailbox-full", **signs(sent))
    assert returning.keep([raw, raw], source="hook", now=now) == 1
    returning.read_waiting(now=now)
    assert returning.keep([raw], source="imap", now=now) == 0
    assert returning.read_waiting(now=now) == 0


def test_what_cannot_be_read_is_put_aside_once_and_read_again_only_when_asked(now, monkeypatch):
    returning.keep([mail("32-status-without-recipient")], source="hook", now=now)
    returning.read_waiting(now=now)
    row = ReturnedMail.objects.get()
    assert (row.state, row.attempts, row.reason) == ("dead", 1, "It is a delivery status without a recipient.")
    monkeypatch.setattr(returning.reading, "read", lambda raw: pytest.fail("it is read again"))
    assert returning.read_waiting(now=now + HOUR) == 0
    monkeypatch.undo()
    assert returning.again(mails=[row.pk]) == 1
    assert returning.read_waiting(now=now + HOUR) == 1
    assert returning.drop(mails=[row.pk], now=now) == 1
    row.refresh_from_db()
    assert (row.state, bytes(row.raw)) == ("dropped", b"")


def test_what_kills_its_reader_is_not_read_for_ever(sent, now, monkeypatch):
    returning.keep([mail("01-postfix-hard", **signs(sent))], source="hook", now=now)

    class Killed(BaseException):
        pass

    def die(raw):
        raise Killed

    monkeypatch.setattr(returning.reading, "read", die)
    for hours in range(returning.MOST_ATTEMPTS):
        with pytest.raises(Killed):
            returning.read_waiting(now=now + hours * HOUR)
        assert returning.read_waiting(now=now + hours * HOUR) == 0  # not at once, either
    assert returning.read_waiting(now=now + 9 * HOUR) == 0
    assert ReturnedMail.objects.get().reason == "Reading it never came to an end."


def test_a_large_mail_is_kept_and_read_by_its_beginning(sent, now):
    raw = mail("01-postfix-hard", **signs(sent)) + b"x" * 2_000_000
    returning.keep([raw], source="hook", now=now)
    row = ReturnedMail.objects.get()
    assert (row.size, len(row.raw)) == (len(raw), returning.reading.MOST_BYTES)
    returning.read_waiting(now=now)
    assert Feedback.objects.get().verdict == "hard"


def test_what_is_put_aside_goes_with_its_person_and_in_time(sent, make_contact, now):
    returning.keep([mail("22-plain-without-our-sign"), mail("31-forged-token")], source="hook", now=now)
    returning.read_waiting(now=now)
    erase(make_contact(email="ann@example.com"), by=None, now=now)
    assert [bytes(row.raw).count(b"victim@") for row in ReturnedMail.objects.all()] == [1]
    returning.forget(now=now + timedelta(days=returning.KEPT_DAYS - 1))
    assert ReturnedMail.objects.exists()
    returning.forget(now=now + timedelta(days=returning.KEPT_DAYS + 1))
    assert not ReturnedMail.objects.exists()


# By a mail server's pipe ---------------------------------------------------------------------------------------------

HOOK = "/hooks/bounces/"


def post(client, raw, secret=""):
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return client.post(HOOK, raw, content_type="message/rfc822", headers=headers).status_code


def test_the_pipe_is_shut_until_its_secret_is_set_and_for_whoever_does_not_know_it(client, sent, settings, now):
    raw = mail("01-postfix-hard", **signs(sent))
    assert post(client, raw) == 404
    settings.BOUNCE_SECRET = "open sesame"
    assert [post(client, raw), post(client, raw, "open"), post(client, raw, "öpen")] == [401, 401, 401]
    assert not ReturnedMail.objects.exists()
    assert [post(client, raw, "open sesame"), post(client, raw, "open sesame")] == [202, 202]
    assert client.get(HOOK).status_code == 405
    assert post(client, b" ", "open sesame") == 400
    returning.read_waiting(now=now)
    assert Suppression.objects.get().address == sent.address


def test_more_than_a_mail_is_not_taken(client, settings):
    settings.BOUNCE_SECRET = "open sesame"
    headers = {"Authorization": "Bearer open sesame", "Content-Length": str(20 * 1024 * 1024)}
    assert client.post(HOOK, b"x", content_type="message/rfc822", headers=headers).status_code == 413


# From a mailbox ------------------------------------------------------------------------------------------------------


@pytest.fixture
def letters(sent) -> list[bytes]:
    return [mail(name, **signs(sent)) for name in ("01-postfix-hard", "33-a-person-answers", "23-vacation")]


def emptied(now) -> tuple[int, str | None]:
    """How many were taken, and the verdict."""
    return returning.empty_mailbox(now=now), Feedback.objects.values_list("verdict", flat=True).first()


def test_a_maildir_is_emptied_of_reports_and_keeps_what_people_wrote(letters, settings, tmp_path, now):
    box = mailbox.Maildir(tmp_path / "box")
    for one in letters:
        box.add(one)
    settings.BOUNCES_URL = f"maildir:{tmp_path}/box"
    assert emptied(now) == (2, "hard")
    assert [one["Subject"] for one in mailbox.Maildir(tmp_path / "box")] == ["Re: Hello"]
    assert MailboxNote.objects.count() == 1
    assert emptied(now) == (0, "hard")


def test_a_mail_stays_in_the_mailbox_until_it_is_kept(letters, settings, tmp_path, now, monkeypatch):
    box = mailbox.Maildir(tmp_path / "box")
    for one in letters:
        box.add(one)
    settings.BOUNCES_URL = f"maildir:{tmp_path}/box"

    def fail(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(returning, "keep", fail)
    with pytest.raises(mailboxes.MailboxAway):
        returning.empty_mailbox(now=now)
    assert len(box) == 3
    monkeypatch.undo()
    assert emptied(now) == (2, "hard")


class Server(socketserver.ThreadingTCPServer):
    """A mailbox behind a line protocol; enough of it for one client."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, handler, mails):
        super().__init__(("127.0.0.1", 0), handler)
        self.mails = {str(number): raw.replace(b"\n", b"\r\n") for number, raw in enumerate(mails, 101)}
        self.moved: list[str] = []
        self.fetched: list[str] = []
        self.passwords: list[str] = []


class Pop(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda text: self.wfile.write(text.encode() + b"\r\n")  # noqa: E731
        say("+OK")
        uids, gone = list(self.server.mails), []
        for line in self.rfile:
            command, *rest = line.decode().split()
            match command.upper():
                case "UIDL":
                    say("+OK\r\n" + "".join(f"{n} {uid}\r\n" for n, uid in enumerate(uids, 1)) + ".")
                case "RETR":
                    uid = uids[int(rest[0]) - 1]
                    self.server.fetched.append(uid)
                    self.wfile.write(b"+OK\r\n" + self.server.mails[uid].replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
                case "DELE":
                    gone.append(uids[int(rest[0]) - 1])
                    say("+OK")
                case "QUIT":
                    for uid in gone:
                        self.server.mails.pop(uid)
                    say("+OK")
                    return
                case "PASS":
                    self.server.passwords.append(rest[0])
                    say("+OK")
                case _:
                    say("+OK")


class Imap(socketserver.StreamRequestHandler):
    extensions = "MOVE UIDPLUS"

    def handle(self):
        say = lambda text: self.wfile.write(text.encode() + b"\r\n")  # noqa: E731
        say("* OK hello")
        marked: set[str] = set()
        mails = self.server.mails
        for line in self.rfile:
            tag, command, *rest = line.decode().split()
            verb = " ".join([command, *rest[:1]]).upper() if command.upper() == "UID" else command.upper()
            match verb:
                case "CAPABILITY":
                    say(f"* CAPABILITY IMAP4rev1 {self.extensions}")
                case "LOGIN":
                    self.server.passwords.append(rest[1])
                case "SELECT":
                    say(f"* {len(mails)} EXISTS\r\n* OK [UIDVALIDITY 7] ok")
                case "UID SEARCH":
                    say("* SEARCH " + " ".join(mails))
                case "UID FETCH":
                    self.server.fetched.append(rest[1])
                    raw = mails[rest[1]]
                    self.wfile.write(f"* 1 FETCH (UID {rest[1]} BODY[]<0> {{{len(raw)}}}\r\n".encode() + raw + b")\r\n")
                case "UID MOVE":
                    self.server.moved += rest[1].split(",")
                    for uid in rest[1].split(","):
                        mails.pop(uid)
                case "UID COPY":
                    self.server.moved += rest[1].split(",")
                case "UID STORE":
                    marked |= set(rest[1].split(","))
                case "UID EXPUNGE" | "EXPUNGE":
                    for uid in marked:
                        mails.pop(uid)
                case "LOGOUT":
                    say("* BYE")
                    say(f"{tag} OK")
                    return
            say(f"{tag} OK done")


class PlainImap(Imap):
    extensions = ""


@pytest.fixture
def serve():
    running = []

    def start(handler, mails) -> Server:
        server = Server(handler, mails)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("handler", "done"), [(Imap, ""), (Imap, "?done=Handled"), (PlainImap, ""), (PlainImap, "?done=Handled"), (Pop, "")]
)
def test_imap_and_pop_are_emptied_alike(serve, handler, done, letters, settings, now):
    server = serve(handler, letters)
    scheme = "pop3" if handler is Pop else "imap"
    settings.BOUNCES_URL = f"{scheme}://bounces:pw@127.0.0.1:{server.server_address[1]}/INBOX{done}"
    assert emptied(now) == (2, "hard")
    assert list(server.mails) == ["102"]
    assert server.moved == (["101", "103"] if done else [])
    # What a person wrote is not fetched every minute.
    server.fetched.clear()
    assert emptied(now) == (0, "hard")
    assert server.fetched == []


def test_a_mailbox_that_is_away_is_said_and_nothing_is_lost(settings, now):
    settings.BOUNCES_URL = "imap://bounces:secret@127.0.0.1:1/INBOX"
    with pytest.raises(mailboxes.MailboxAway) as caught:
        returning.empty_mailbox(now=now)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "sentence"),
    {
        "ftp://x": "must begin with imaps://",
        "imaps://host/": "no user",
        "imap://u:geheim@mail.example/": "shows the password",
        "pop3s://u:geheim@mail.example/?done=X": "unknown parameter",
        "imaps://u:geheim@mail.example:x/": "no number",
        "maildir:": "needs a folder",
    }.items(),
)
def test_a_wrong_address_of_a_mailbox_is_said_without_its_password(url, sentence):
    with pytest.raises(ImproperlyConfigured) as caught:
        mailboxes.place(url)
    assert sentence in str(caught.value) and "geheim" not in str(caught.value)
