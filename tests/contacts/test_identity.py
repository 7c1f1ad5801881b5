"""Two writings of one handle are one; two people's handles are never one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts.identity import normalise, normalise_kind


@pytest.mark.parametrize(
    "written",
    [
        "ann.lee@example.com", " Ann.Lee@EXAMPLE.com ", "ANN.LEE@example.com", "\tann.lee@example.com\n",
        "ann.lee＠example.com", "ａnn.lee@example.com",
    ],
)  # fmt: skip
def test_case_spaces_and_width_do_not_split_a_person(written):
    assert normalise("email", written) == "ann.lee@example.com"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann@bücher.example"),
        ("ann@bu\u0308cher.example", "ann@bücher.example"),
        ("e\u0301va@example.com", "éva@example.com"),
    ],
)
def test_an_international_address_is_one_in_every_form(one, other):
    assert normalise("email", one) == normalise("email", other)


def test_what_a_mail_server_may_tell_apart_stays_apart():
    addresses = ["annlee@example.com", "ann.lee@example.com", "annlee+news@example.com", "annlee@example.org",
                 "annlee@mail.example.com", "ánnlee@example.com"]  # fmt: skip
    assert len({normalise("email", address) for address in addresses}) == len(addresses)


@pytest.mark.parametrize(
    "wrong",
    ["", "   ", "ann", "ann@", "@example.com", "ann@localhost", "a b@example.com", "ann@exam\u200bple.com",
     "ann\x00@example.com", "ann@example.com\nbcc: all@example.com", "a" * 300 + "@example.com", "ann@@example.com",
     None, 7],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"\.$|: "):
        normalise("email", wrong)


@given(st.emails())
def test_an_address_once_normalised_stays_as_it_is(address):
    try:
        written = normalise("email", address)
    except ValueError:
        return
    assert normalise("email", written) == written
    assert normalise("email", f"  {written.upper()} ") == written


@pytest.mark.parametrize(
    ("written", "region", "expected"),
    [
        ("777 123 456", "CZ", "+420777123456"),
        ("+420 777-123-456", "PL", "+420777123456"),
        ("00420777123456", "CZ", "+420777123456"),
        ("22 123 45 67", "PL", "+48221234567"),
    ],
)
def test_a_telephone_number_has_one_form(written, region, expected):
    assert normalise("phone", written, region=region) == expected


@pytest.mark.parametrize("wrong", ["call me", "12", "+999999999999999999999"])
def test_what_is_no_telephone_number_is_refused(wrong):
    with pytest.raises(ValueError, match="telephone"):
        normalise("phone", wrong)


def test_the_ids_of_clients_stay_as_they_are_but_for_spaces_around():
    assert normalise("user_id", " U-1 ") == "U-1"
    assert normalise("user_id", "u-1") != normalise("user_id", "U-1")
    assert normalise("erp_id", "007") == "007"
    for wrong in ("", " ", "x" * 256, "a\nb", "a\x00"):
        with pytest.raises(ValueError, match="value"):
            normalise("anonymous_id", wrong)


def test_a_kind_of_a_clients_own_is_a_slug():
    assert normalise_kind("ERP Id") == "erp_id"
    assert normalise_kind("email") == "email"
    with pytest.raises(ValueError, match="64"):
        normalise_kind("!!!")
