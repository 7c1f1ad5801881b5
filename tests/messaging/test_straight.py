"""The straight way of filling in Liquid and the sandboxed interpreter write the same, or fail in the same words."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from messaging import liquid, straight

_NAMES = ["a", "b", "c", "item", "size", "now"]
_texts = st.text(alphabet="ab <>&\"'=.\nčž€{}%", max_size=6)
_plain = st.one_of(
    _texts,
    st.none(),
    st.booleans(),
    st.integers(-5, 10**19),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
)
_values = st.dictionaries(
    st.sampled_from(_NAMES),
    st.recursive(
        _plain,
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3), st.lists(inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)
_paths = st.lists(st.sampled_from([*_NAMES, "first"]), min_size=1, max_size=3).map(".".join)
_literals = st.sampled_from(
    ["'x'", "'<b>'", '"it\'s"', "''", "1", "0", "2.5", "true", "false", "nil", "empty", "blank"]
)
_TEXTS = ["Hello ", " ", "\n", "<p>&amp;</p>", "č = "]
_operands = st.one_of(_paths, _literals)


@st.composite
def _conditions(draw, depth=2):
    if depth and draw(st.booleans()):
        joined = draw(st.sampled_from([" and ", " or "]))
        return draw(_conditions(depth - 1)) + joined + draw(_conditions(depth - 1))
    if draw(st.booleans()):
        return draw(_operands)
    compared = draw(st.sampled_from(["==", "!=", "<", ">", "<=", ">=", "contains"]))
    return f"{draw(_operands)} {compared} {draw(_operands)}"


@st.composite
def _templates(draw, depth=3):
    kinds = ["text", "value", "default", "filter"] + (["if", "unless", "for", "assign", "cycle"] if depth else [])
    out = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(kinds))
        path = draw(_paths)
        inner = draw(_templates(depth=depth - 1)) if kind in ("if", "unless", "for") else ""
        other = draw(st.sampled_from(["", "{% else %}", f"{{% elsif {draw(_conditions())} %}}y{{{{ {path} }}}}"]))
        operand, ordered = draw(_operands), draw(st.sampled_from(["", " reversed", " limit:1"]))
        asked, name, text = draw(_conditions()), draw(st.sampled_from(_NAMES)), draw(st.sampled_from(_TEXTS))
        written = {
            "text": text,
            "value": f"{{{{ {path} }}}}",
            "default": f"{{{{ {path} | default: {operand} }}}}",
            "filter": f"{{{{ {path} | upcase | append: {operand} }}}}",
            "if": f"{{% if {asked} %}}{inner}{other}{{% endif %}}",
            "unless": f"{{%- unless {asked} -%}}{inner}{other}{{% endunless %}}",
            "for": f"{{% for item in {path}{ordered} %}}{inner}{{{{ item | default: '-' }}}}{{% endfor %}}",
            "assign": f"{{% assign {name} = {operand} %}}",
            "cycle": "{% cycle 'one', 'two' %}",
        }
        out.append(written[kind])
    return "".join(out)


def _by(way, *args, **options) -> tuple[str, str]:
    try:
        return "text", way(*args, **options)
    except liquid.RenderError as error:
        return "error", str(error)


def _straight(source, values, *, is_html):
    template = liquid.parse(source, is_html=is_html)
    return "".join(straight.fill(straight.pieces(template), template, values))


@given(source=_templates(), values=_values, is_html=st.booleans())
@settings(max_examples=250, deadline=None)
@example("{{ a | default: '<b>' }}{% if a %}<p>{{ a }}</p>{% endif %}", {"a": "<&>\"'"}, True)
@example("{% for item in a %}{% for a in item %}{{ a.b }}{% endfor %}{% endfor %}", {"a": [[{"b": 1}], []]}, True)
@example("{% for item in a %} {% endfor %}{% if a %} {% endif %}x", {"a": [1, 2]}, False)
@example("{% for item in a %}{{ item }}{% endfor %}", {"a": {"b": 1}}, False)
@example("{% assign a = 'x' %}{{ a | default: 'y' }}{{ b.c | default: 'y' }}", {"b": {"c": ""}}, False)
@example("{% if now %}1{% endif %}{{ a.size }}{{ a.first }}", {"a": "text"}, False)
def test_both_ways_write_the_same_or_fail_in_the_same_words(source, values, is_html):
    assert _by(_straight, source, values, is_html=is_html) == _by(liquid.render, source, values, is_html=is_html)


def test_what_is_everyday_never_reaches_the_interpreter(monkeypatch):
    def refuse(self, node):
        raise AssertionError(str(node))

    monkeypatch.setattr(liquid.Rendering, "node", refuse)
    source = (
        "{{ contact.first_name | default: 'friend' }} {{ contact.years }}"
        "{% if contact.plan == 'pro' and contact.years > 1 %}"
        "{% for item in contact.items %}<li>{{ item.name }}</li>{% else %}none{% endfor %}"
        "{% elsif contact.plan %}x{% else %}y{% endif %}{% unless contact.gone %}here{% endunless %}"
    )
    contact = {"first_name": "Eva", "years": 3, "plan": "pro", "items": [{"name": "<a>"}, {"name": 2}]}
    assert _straight(source, {"contact": contact}, is_html=True) == "Eva 3<li>&lt;a&gt;</li><li>2</li>here"


def test_a_text_can_not_take_away_the_way_out():
    source = "{% assign links = contact %}{{ links.unsubscribe }}"
    values = {"links": {"unsubscribe": "https://ours"}, "contact": {"unsubscribe": "https://theirs"}}
    assert _straight(source, values, is_html=True) == "https://ours"


def test_a_loop_without_end_is_the_interpreters_to_refuse():
    source = "{% for item in a %}{% for item in a %}x{% endfor %}{% endfor %}"
    values = {"a": [1] * 101}
    assert _by(_straight, source, values, is_html=True) == _by(liquid.render, source, values, is_html=True)
    assert _by(_straight, source, values, is_html=True)[0] == "error"
