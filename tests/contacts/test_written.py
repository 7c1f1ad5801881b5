"""What people write as YAML is read so that it can be kept, or refused with a sentence; it never breaks the reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contacts import written

REFUSED = [
    "&a [*a]",
    "&a {b: *a}",
    "a: &x [1, *x]",
    'a: "b\\0c"',
    '"b\\0c": a',
    'a: "\\uD800"',
    "a: !!set {b, c}",
    "a: !!timestamp 2027-01-01",
    "a: !!timestamp soon",
    "a: !!binary aGVsbG8=",
    "a: !!omap [b: c]",
    "a: !!int many",
    "a: !!int ''",
    "a: !!bool maybe",
    "a: 1.0e400",
    "a: 9223372036854775808",
    "a: " + "9" * 5000,
    "1: a",
    "true: a",
    "a: " + "[" * 60 + "]" * 60,
    "a: " + "[" * 5000 + "]" * 5000,
    "a: {",
    "a: \x00",
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30])
def test_what_cannot_be_kept_is_refused_with_a_sentence(text):
    with pytest.raises(written.Unreadable) as refused:
        written.read(text)
    assert str(refused.value)


def test_what_names_itself_again_and_again_is_refused_soon():
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(written.Unreadable):
        written.read("\n".join(laughs))


def test_the_same_part_may_stand_in_two_places():
    assert written.read("a: &x [1]\nb: *x") == {"a": [1], "b": [1]}


def test_numbers_up_to_64_bits_and_texts_in_any_script_are_read():
    text = "a: 9223372036854775807\nb: -9223372036854775808\nc: Žluťoučký 🐎\nd: 1.5\ne: null\nf: 10:00"
    assert written.read(text) == {"a": 2**63 - 1, "b": -(2**63), "c": "Žluťoučký 🐎", "d": 1.5, "e": None, "f": "10:00"}


@given(st.text(alphabet="ab:{}[]-&*!?|>\"'\\\\u0 \n#%@,.1e", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        value = written.read(text)
    except written.Unreadable:
        return
    assert written.unkeepable(value) == ""
