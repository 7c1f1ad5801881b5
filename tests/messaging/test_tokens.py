"""Tokens: nobody makes or changes one, and one is worth nothing for another purpose."""

import base64

import pytest

from messaging import tokens
from messaging.models import SigningKey

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("purpose", "ids"), [(tokens.CLICK, (7, 9)), (tokens.OPEN, (7,)), (tokens.PERSON, (2**40, 3))])
def test_it_reads_what_it_signed(purpose, ids):
    assert tokens.read(purpose, tokens.current().token(purpose, *ids)) == ids


@pytest.mark.parametrize(("purpose", "ids"), [(tokens.CLICK, (7, 9)), (tokens.OPEN, (7,)), (tokens.PERSON, (7, 9))])
def test_any_other_spelling_is_refused(purpose, ids):
    token = tokens.current().token(purpose, *ids)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/. \n"
    for place in range(len(token)):
        for character in alphabet:
            if character != token[place]:
                with pytest.raises(tokens.BadToken):
                    tokens.read(purpose, token[:place] + character + token[place + 1 :])
    for other in ("", token[:-1], token + "A", token + "=", token + "\n", " " + token, "é" * len(token)):
        with pytest.raises(tokens.BadToken):
            tokens.read(purpose, other)


def test_a_token_for_one_thing_is_worthless_for_another():
    signer = tokens.current()
    for purpose, other in [(tokens.CLICK, tokens.PERSON), (tokens.PERSON, tokens.CLICK)]:
        with pytest.raises(tokens.BadToken):
            tokens.read(other, signer.token(purpose, 1, 2))
    with pytest.raises(tokens.BadToken):
        tokens.read(tokens.PERSON, signer.token(tokens.OPEN, 1))


def test_old_tokens_hold_when_a_new_key_is_made_and_the_secret_key_changes(settings):
    token = tokens.current().token(tokens.PERSON, 1, 2)
    SigningKey.objects.create(secret=b"another" * 5)
    settings.SECRET_KEY = "rotated" * 10
    assert tokens.current().token(tokens.PERSON, 1, 2) != token
    assert tokens.read(tokens.PERSON, token) == (1, 2)


def test_a_token_holds_a_tag_of_128_bits():
    raw = base64.urlsafe_b64decode(tokens.current().token(tokens.OPEN, 1))
    assert len(raw) == 2 + 6 + 16


def test_a_message_id_is_recognised_and_a_forged_one_is_not():
    written = tokens.message_id(tokens.first(), 12, "acme.example")
    assert tokens.message_of(f"<{written}>") == 12
    assert tokens.message_of(written.replace("m12.", "m13.")) is None
    assert tokens.message_of("<someone@else.example>") is None
