"""What rules mean, as tables: people in, a rule, people out. `docs/rules.md` is made of them by `scripts.rules_doc`.

Only data stands here. `test_rules_spec.py` asks each rule of SQL, of the Python twin, of the preview, of the REST API
and of the explanation. Cells are YAML; an empty cell is no value. Moments such as -14d count from 2026-11-10 10:00 in
Prague.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spec:
    """A part of the manual: people, what they did, and rules with those whom they mean."""

    title: str
    text: str
    people: str
    cases: str
    # Custom fields by their keys: a type, or for a choice its choices.
    fields: dict[str, object] = field(default_factory=dict)
    # Further tables: touchpoints, members, consents, orders, points, identities.
    more: dict[str, str] = field(default_factory=dict)


SPECS = [
    Spec(
        "Text",
        "`eq`, `ne`, `in` and `not_in` compare letter by letter, spaces included; `contains` and"
        " `starts_with` disregard case. No value, null and an empty text are the same. `ne`, `not_in` and"
        " `is_empty` include people without a value; every other operator leaves them out.",
        """
        who | country | job_title
        ann | CZ      | Head of IT
        ben | PL      | head of sales
        cid | cz      |
        dan |         | "Ředitel"
        """,
        """
        rule                                                      | who
        {field: country, op: eq, value: CZ}                       | ann
        {field: country, op: ne, value: CZ}                       | ben cid dan
        {field: country, op: in, value: [CZ, PL]}                 | ann ben
        {field: country, op: not_in, value: [CZ, PL]}             | cid dan
        {field: country, op: is_set}                              | ann ben cid
        {field: country, op: is_empty}                            | dan
        {field: job_title, op: contains, value: HEAD}             | ann ben
        {field: job_title, op: starts_with, value: řed}           | dan
        {field: job_title, op: contains, value: "%"}              |
        """,
    ),
    Spec(
        "Numbers",
        'A value that came as another type is read where it can be (`"50"` is the number 50); what is no'
        " number counts as missing for comparisons, and as there for `is_set`.",
        """
        who | seats
        ann | 12
        ben | "50"
        cid | a dozen
        dan |
        """,
        """
        rule                                                 | who
        {field: seats, op: eq, value: 12}                    | ann
        {field: seats, op: ne, value: 12}                    | ben cid dan
        {field: seats, op: in, value: [12, 50]}              | ann ben
        {field: seats, op: not_in, value: [12]}              | ben cid dan
        {field: seats, op: gt, value: 12}                    | ben
        {field: seats, op: gte, value: 12}                   | ann ben
        {field: seats, op: lt, value: 12.5}                  | ann
        {field: seats, op: lte, value: 50}                   | ann ben
        {field: seats, op: is_set}                           | ann ben cid
        {field: seats, op: is_empty}                         | dan
        """,
        fields={"seats": "number"},
    ),
    Spec(
        "Yes or no, choices and lists",
        "A list `contains` a whole element, of its own type. A choice is compared as a text and may only be"
        " asked for one of its choices.",
        """
        who | active  | size | tags
        ann | true    | S    | [a, b]
        ben | "false" | L    | [b, 12]
        cid | maybe   |      | []
        """,
        """
        rule                                             | who
        {field: active, op: eq, value: true}             | ann
        {field: active, op: eq, value: false}            | ben
        {field: active, op: ne, value: true}             | ben cid
        {field: active, op: is_set}                      | ann ben cid
        {field: active, op: is_empty}                    |
        {field: size, op: eq, value: L}                  | ben
        {field: size, op: not_in, value: [L]}            | ann cid
        {field: tags, op: contains, value: b}            | ann ben
        {field: tags, op: contains, value: "12"}         |
        {field: tags, op: in, value: [a, 12]}            | ann ben
        {field: tags, op: not_in, value: [a]}            | ben cid
        {field: tags, op: is_set}                        | ann ben
        {field: tags, op: is_empty}                      | cid
        """,
        fields={"active": "boolean", "size": ["S", "L"], "tags": "list"},
    ),
    Spec(
        "Days",
        "A day of a rule is `2026-12-31`, or so far from today: `-14d`, `+30d`, `now`. Days are days of the"
        " workspace's zone (`TIME_ZONE`). `within_last` ends today; what lies ahead is not within.",
        """
        who | born         | renews_on
        ann | "1990-05-01" | "2026-11-24"
        ben | "2000-02-29" | "2026-11-10"
        cid | "2026-02-30" | "2026-10-27"
        dan |              |
        """,
        """
        rule                                                            | who
        {field: born, op: eq, value: "1990-05-01"}                      | ann
        {field: born, op: ne, value: "1990-05-01"}                      | ben cid dan
        {field: born, op: in, value: ["1990-05-01", "2000-02-29"]}      | ann ben
        {field: born, op: not_in, value: ["1990-05-01"]}                | ben cid dan
        {field: born, op: before, value: "2000-02-29"}                  | ann
        {field: born, op: lte, value: "2000-02-29"}                     | ann ben
        {field: renews_on, op: after, value: now}                       | ann
        {field: renews_on, op: gt, value: now}                          | ann
        {field: renews_on, op: gte, value: now}                         | ann ben
        {field: renews_on, op: lt, value: "2026-11-10"}                 | cid
        {field: renews_on, op: eq, value: +14d}                         | ann
        {field: renews_on, op: within_last, value: 14d}                 | ben cid
        {field: renews_on, op: within_last, value: 13d}                 | ben
        {field: born, op: is_set}                                       | ann ben cid
        {field: born, op: is_empty}                                     | dan
        """,
        fields={"born": "date", "renews_on": "date"},
    ),
    Spec(
        "Points of time",
        "Against a whole day `after` means when it is over, `lte` before it is over. A value without an"
        " offset is wall time of the workspace. `-14d` is to the second.",
        """
        who | trial_ends
        ann | "2026-11-09T22:59:59Z"
        ben | "2026-11-09T23:00:00Z"
        cid | "2026-11-10T23:30"
        dan | "2026-11-11"
        eva | soon
        """,
        """
        rule                                                               | who
        {field: trial_ends, op: before, value: "2026-11-10"}               | ann
        {field: trial_ends, op: lt, value: "2026-11-10"}                   | ann
        {field: trial_ends, op: lte, value: "2026-11-10"}                  | ann ben cid
        {field: trial_ends, op: gte, value: "2026-11-10"}                  | ben cid dan
        {field: trial_ends, op: after, value: "2026-11-10"}                | dan
        {field: trial_ends, op: gt, value: "2026-11-10T22:30:00+00:00"}    | dan
        {field: trial_ends, op: after, value: now}                         | cid dan
        {field: trial_ends, op: within_last, value: 11h}                   | ann ben
        {field: trial_ends, op: within_last, value: 10h}                   |
        {field: trial_ends, op: is_set}                                    | ann ben cid dan eva
        {field: trial_ends, op: is_empty}                                  |
        """,
        fields={"trial_ends": "datetime"},
    ),
    Spec(
        "For how long",
        "`has_been_for` asks of any field that has one value whether it has had it, unchanged, for a span of"
        " time: since the newest `contact.updated` that names the field, else since the contact was made. For"
        " the fields of a company an edit of the company counts as well.",
        """
        who | plan  | created_at
        ann | trial | -30d
        ben | trial | -30d
        cid | trial | -3d
        dan | pro   | -30d
        """,
        """
        rule                                                                  | who
        {field: plan, op: has_been_for, value: trial, for: 14d}               | ann
        {field: plan, op: has_been_for, value: trial, for: 3d}                | ann ben cid
        {field: plan, op: has_been_for, value: trial, for: 30d}               | ann
        {field: plan, op: has_been_for, value: trial, for: 31d}               |
        {not: {field: plan, op: has_been_for, value: trial, for: 14d}}  | ben cid dan
        """,
        fields={"plan": "text"},
        more={
            "touchpoints": """
            who | kind            | when | properties
            ann | contact.updated | -2d  | {fields: [country]}
            ben | contact.updated | -20d | {fields: [plan]}
            ben | contact.updated | -5d  | {fields: [country, plan]}
            """
        },
    ),
    Spec(
        "Companies",
        "`company.name`, `.domain`, `.country`, `.industry`, `.employees`, and what stands in a company's"
        " attributes: `company.attributes.tier`, of the type of what it is compared with.",
        """
        who | company
        ann | {name: Acme, employees: 60, country: CZ, attributes: {tier: gold, deals: 3}}
        ben | {name: Tiny}
        cid |
        """,
        """
        rule                                                          | who
        {field: company.name, op: eq, value: Acme}                    | ann
        {field: company.employees, op: gte, value: 50}                | ann
        {field: company.employees, op: is_empty}                      | ben cid
        {field: company.country, op: ne, value: CZ}                   | ben cid
        {field: company.attributes.tier, op: eq, value: gold}         | ann
        {field: company.attributes.deals, op: gt, value: 2}           | ann
        {field: company.attributes.deals, op: is_empty}               | ben cid
        """,
    ),
    Spec(
        "What people did",
        "`did` names a kind of touchpoint. Properties are compared by the type of the rule's value;"
        " `contains` looks into a text or for an element of a list; a dotted name reaches into nested"
        " properties. `count` is at least 1 unless it says otherwise. `within` counts back from now, `after`"
        " and `before` name moments. What lies in the future has not been done, and what programs did counts"
        " only with `include_machines: true`.",
        """
        who
        ann
        ben
        cid
        """,
        """
        rule                                                                                                   | who
        {did: page.viewed}                                                                                     | ann
        {did: page.viewed, where: [{field: url, op: contains, value: /pricing}]}                               | ann
        {did: page.viewed, include_machines: true}                                                             | ann ben
        {did: page.viewed, count: {op: gte, value: 3}}                                                         | ann
        {did: page.viewed, count: {op: gte, value: 3}, within: 14d}                                            |
        {did: page.viewed, count: {op: eq, value: 2}, within: 14d}                                             | ann
        {did: page.viewed, count: {op: lt, value: 1}}                                                          | ben cid
        {did: page.viewed, count: {op: ne, value: 3}}                                                          | ben cid
        {did: page.viewed, after: -36h}                                                                        | ann
        {did: page.viewed, before: "2026-10-01"}                                                               |
        {not: {did: order.placed, within: 90d}}                                                          | ann ben
        {did: order.placed, where: [{field: total, op: gte, value: 99.5}]}                                     | cid
        {did: order.placed, where: [{field: products, op: contains, value: pro}]}                              | cid
        {did: order.placed, where: [{field: products, op: contains, value: pr}]}                               |
        {did: order.placed, where: [{field: ship.city, op: in, value: [Brno, Praha]}]}                         | cid
        {did: order.placed, where: [{field: paid, op: eq, value: true}, {field: coupon, op: is_empty}]}        | cid
        """,
        more={
            "touchpoints": """
            who | kind         | when | properties                                                     | machine
            ann | page.viewed  | -1d  | {url: https://example.com/Pricing}                             |
            ann | page.viewed  | -2d  | {url: /pricing}                                                |
            ann | page.viewed  | -14d | {url: /}                                                       |
            ann | page.viewed  | +1d  | {url: /pricing}                                                |
            ben | page.viewed  | -1d  | {url: /pricing}                                                | true
            cid | order.placed | -1d  | {total: "99.50", products: [pro, 12], ship: {city: Brno}, paid: true} |
            """
        },
    ),
    Spec(
        "Stages",
        "`reached` asks for the highest stage on the ladder visitor → known → lead → qualified → customer →"
        " ambassador; disqualified and churned stand beside it.",
        """
        who | stage   | highest_stage | stage_changed_at | created_at
        ann | lead    | qualified     | -30d             | -90d
        ben | churned | customer      | -3d              | -90d
        cid | visitor | visitor       |                  | -20d
        """,
        """
        rule                                                             | who
        {stage: lead}                                                    | ann
        {stage: qualified, op: reached}                                  | ann ben
        {stage: visitor, for: 20d}                                       | cid
        {stage: lead, for: 31d}                                          |
        {field: stage, op: in, value: [lead, churned]}                   | ann ben
        {field: stage, op: has_been_for, value: lead, for: 30d}          | ann
        {field: highest_stage, op: eq, value: customer}                  | ben
        """,
    ),
    Spec(
        "Segments and random shares",
        "Membership is as of the last tick; with `for`, uninterrupted for so long. A share takes these of 100"
        " places, drawn from the salt and the contact: at random, but always the same.",
        """
        who
        ann
        ben
        cid
        """,
        """
        rule                                     | who
        {in_segment: vip}                        | ann ben
        {in_segment: vip, for: 7d}               | ann
        {not: {in_segment: vip}}           | cid
        {bucket: 0-99, salt: spring}             | ann ben cid
        {not: {bucket: 0-99, salt: spring}}      |
        """,
        more={
            "members": """
            who | segment | since
            ann | vip     | -7d
            ben | vip     | -6d
            """
        },
    ),
    Spec(
        "Consent",
        "May a mail of this topic be sent? The same question as at the gate: an opt-in topic needs a yes, an"
        " opt-out topic (here `news`) lacks a no; who refuses everything or whose address is suppressed gets"
        " nothing, and who has not yet confirmed the address neither. `channel` asks of another way than `email`:"
        " `sms`. `state` asks what a person said, whatever list the address stands on: `denied` (the topic or the"
        " whole channel), `pending` (still to be confirmed) or `none` (never said); without it, `granted`.",
        """
        who | email
        ann | ann@example.com
        ben | ben@example.com
        cid | cid@example.com
        dan | dan@example.com
        eva | gone@example.com
        """,
        """
        rule                          | who
        {consent: news}               | ann ben
        {consent: tips}               | ben
        {not: {consent: tips}}  | ann cid dan eva
        {consent: tips, channel: sms} | cid
        {consent: news, channel: sms} | ann cid dan eva
        {consent: tips, state: granted} | ben
        {consent: tips, state: denied} | dan
        {consent: news, state: denied} | cid dan
        {consent: tips, state: pending} | cid
        {consent: tips, state: none} | ann
        {consent: tips, channel: sms, state: denied} | ben
        {consent: tips, channel: sms, state: none} | ann dan eva
        """,
        more={
            "consents": """
            who | topic | state   | channel
            ben | tips  | granted | email
            cid | news  | denied  | email
            cid | tips  | pending | email
            dan | ""    | denied  | email
            dan | tips  | granted | email
            eva | tips  | granted | email
            ben | ""    | denied  | sms
            cid | tips  | granted | sms
            """
        },
    ),
    Spec(
        "Scores",
        "Exact at the moment of asking: points that fade are worth half after each half-life (here 14 days)."
        " Everybody has a score, 0 at least where nothing was taken away.",
        """
        who
        ann
        ben
        cid
        """,
        """
        rule                                          | who
        {score: engagement, op: gte, value: 5}        | ann
        {score: engagement, op: eq, value: 2.5}       | ben
        {score: engagement, op: lt, value: 5}         | ben cid
        {score: fit, op: in, value: [0, 10]}          | ann ben cid
        {score: fit, op: gt, value: 0}                | ben
        """,
        more={
            "points": """
            who | score      | points | when
            ann | engagement | 10     | -14d
            ben | engagement | 10     | -28d
            ben | fit        | 10     | -90d
            cid | engagement | 10     | +1d
            """
        },
    ),
    Spec(
        "Grades",
        "Two scores read together, by the bounds of a matrix: here A from 10 points of fit, B from 5, and 1 from 10"
        " points of engagement, 2 from 5. Exact at the moment of asking; a bound is reached at exactly its points.",
        """
        who
        ann
        ben
        cid
        dan
        """,
        """
        rule                                                  | who
        {grade: product, op: in, value: [A1, A2]}             | ann
        {grade: product, op: eq, value: A1}                   |
        {grade: product, op: not_in, value: [C3]}             | ann ben dan
        {grade: product, op: ne, value: B3}                   | ann cid dan
        {grade: product, op: in, value: [C1, C2, C3]}         | cid dan
        """,
        more={
            "points": """
            who | score      | points | when
            ann | engagement | 10     | -14d
            ann | fit        | 10     | -90d
            ben | engagement | 10     | -28d
            ben | fit        | 9      | -90d
            dan | engagement | 40     | -14d
            """
        },
    ),
    Spec(
        "Orders",
        "Orders that were cancelled or refunded do not count. Without any, number and total are 0, and"
        " average and last are no values.",
        """
        who
        ann
        ben
        cid
        """,
        """
        rule                                                        | who
        {field: orders.count, op: gte, value: 2}                    | ann
        {field: orders.total, op: eq, value: 0}                     | ben cid
        {field: orders.average, op: gt, value: 100}                 | ann
        {field: orders.average, op: is_empty}                       | ben cid
        {field: orders.last_at, op: within_last, value: 14d}        | ann
        """,
        more={
            "orders": """
            who | state    | total | when
            ann | paid     | 200   | -90d
            ann | placed   | 50.5  | -1d
            ben | refunded | 200   | -1d
            """
        },
    ),
    Spec(
        "Handles",
        "Each kind of identity is a list of what the contact is known by: `identity.user_id`,"
        " `identity.email`, or a kind of your own.",
        """
        who
        ann
        ben
        """,
        """
        rule                                                     | who
        {field: identity.erp, op: contains, value: K-17}         | ann
        {field: identity.erp, op: in, value: [K-17, K-18]}       | ann
        {field: identity.user_id, op: is_empty}                  | ann
        {field: identity.user_id, op: is_set}                    | ben
        """,
        more={
            "identities": """
            who | kind    | value
            ann | erp     | K-17
            ann | erp     | K-18
            ben | user_id | "12"
            """
        },
    ),
    Spec(
        "Groups",
        "`not` is exactly the other people, never “unknown”.",
        """
        who | country | language
        ann | CZ      | cs
        ben | PL      |
        cid |         | cs
        """,
        """
        rule                                                                                                    | who
        {all: [{field: country, op: eq, value: CZ}, {field: language, op: eq, value: cs}]}                | ann
        {any: [{field: country, op: eq, value: PL}, {field: language, op: eq, value: cs}]}                | ann ben cid
        {not: {any: [{field: country, op: eq, value: PL}, {field: country, op: is_empty}]}}               | ann
        {all: [{field: language, op: eq, value: cs}, {not: {field: country, op: eq, value: CZ}}]}         | cid
        """,
    ),
]

# What cannot be asked, with the path that the refusal names.
REFUSED = """
rule                                                                          | path
{all: []}                                                                     | all
{field: nothing, op: eq, value: 1}                                            | field
{field: country, op: like, value: x}                                          | op
{field: country, op: eq, value: 5}                                            | value
{field: country, op: in, value: [CZ, 5]}                                      | value[1]
{field: country, op: eq, value: CZ, within: 14d}                              | within
{field: created_at, op: after, value: yesterday}                              | value
{field: orders.total, op: has_been_for, value: 5, for: 14d}                   | op
{field: email, op: eq, value: nobody}                                         | value
{stage: boss}                                                                 | stage
{stage: churned, op: reached}                                                 | stage
{in_segment: nobody}                                                          | in_segment
{consent: nobody}                                                             | consent
{consent: news, channel: pigeon}                                              | channel
{consent: news, state: perhaps}                                               | state
{score: nobody, op: gte, value: 1}                                            | score
{grade: nobody, op: in, value: [A1]}                                          | grade
{grade: product, op: in, value: [A1, Z9]}                                     | value[1]
{bucket: 0-100, salt: x}                                                      | bucket
{did: pageviewed}                                                             | did
{did: page.viewed, where: [{field: url, op: matches, value: ".*"}]}           | where[0].op
{did: page.viewed, count: {op: gte, value: -1}}                               | count.value
{all: [{stage: lead}, {not: {did: page.viewed, windin: 14d}}]}                | all[1].not.windin
"""


def rows(table: str) -> list[dict[str, str]]:
    """A table as dicts of texts."""
    head, *lines = [[cell.strip() for cell in line.split(" | ")] for line in _lines(table)]
    return [dict(zip(head, [*cells, *[""] * (len(head) - len(cells))], strict=True)) for cells in lines]


def _lines(table: str) -> list[str]:
    # A cell at the end may be empty.
    found = [line.rstrip() for line in table.strip().splitlines()]
    return [f"{line} " if line.endswith("|") else line for line in found]
