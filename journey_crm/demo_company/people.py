"""Who the demo company's people are: names, firms and habits, drawn from one seeded generator."""

from dataclasses import dataclass, field
from random import Random
from unicodedata import combining, normalize

# First name and how a letter addresses it; Czech needs the vocative of the surname instead.
CZECH_WOMEN = ["Jana", "Lucie", "Tereza", "Petra", "Eva", "Veronika", "Hana", "Kateřina", "Markéta", "Zuzana", "Alena"]
CZECH_MEN = ["Jan", "Petr", "Tomáš", "Jakub", "Martin", "Lukáš", "Ondřej", "David", "Filip", "Pavel", "Jiří"]
# Masculine, feminine, masculine vocative.
CZECH_SURNAMES = [
    ("Novák", "Nováková", "Nováku"), ("Svoboda", "Svobodová", "Svobodo"), ("Dvořák", "Dvořáková", "Dvořáku"),
    ("Černý", "Černá", "Černý"), ("Procházka", "Procházková", "Procházko"), ("Kučera", "Kučerová", "Kučero"),
    ("Veselý", "Veselá", "Veselý"), ("Horák", "Horáková", "Horáku"), ("Němec", "Němcová", "Němče"),
    ("Pokorný", "Pokorná", "Pokorný"), ("Marek", "Marková", "Marku"), ("Pospíšil", "Pospíšilová", "Pospíšile"),
    ("Hájek", "Hájková", "Hájku"), ("Jelínek", "Jelínková", "Jelínku"), ("Růžička", "Růžičková", "Růžičko"),
    ("Beneš", "Benešová", "Beneši"), ("Fiala", "Fialová", "Fialo"), ("Sedláček", "Sedláčková", "Sedláčku"),
    ("Křížek", "Křížková", "Křížku"), ("Šimek", "Šimková", "Šimku"), ("Říha", "Říhová", "Řího"),
]  # fmt: skip
POLISH_WOMEN = [("Anna", "Anno"), ("Katarzyna", "Katarzyno"), ("Agnieszka", "Agnieszko"), ("Zofia", "Zofio"),
                ("Małgorzata", "Małgorzato"), ("Joanna", "Joanno"), ("Ewa", "Ewo"), ("Magdalena", "Magdaleno")]  # fmt: skip
POLISH_MEN = [("Piotr", "Piotrze"), ("Paweł", "Pawle"), ("Michał", "Michale"), ("Tomasz", "Tomaszu"),
              ("Łukasz", "Łukaszu"), ("Krzysztof", "Krzysztofie"), ("Marek", "Marku"), ("Jakub", "Jakubie")]  # fmt: skip
POLISH_SURNAMES = [
    ("Kowalski", "Kowalska"), ("Wiśniewski", "Wiśniewska"), ("Wójcik", "Wójcik"), ("Kamiński", "Kamińska"),
    ("Lewandowski", "Lewandowska"), ("Zieliński", "Zielińska"), ("Szymański", "Szymańska"), ("Woźniak", "Woźniak"),
    ("Dąbrowski", "Dąbrowska"), ("Kozłowski", "Kozłowska"), ("Mazur", "Mazur"), ("Jankowski", "Jankowska"),
]  # fmt: skip
ENGLISH_NAMES = ["Emma", "Grace", "Olivia", "Sophie", "Amelia", "Jack", "Harry", "George", "Oliver", "Thomas", "Daniel"]
ENGLISH_SURNAMES = ["Taylor", "Brown", "Wilson", "Evans", "Walker", "Wright", "Hughes", "Green", "Hall", "Wood",
                    "Clarke", "Jackson", "Turner", "Cooper", "Morgan"]  # fmt: skip

FIRM_NAMES = {
    "cs": (["Jóga", "Studio", "Salon", "Ateliér", "Fyzio", "Holičství", "Pilates"],
           ["Pod Lipou", "Na Rohu", "U Mostu", "Luna", "Radost", "Vltava", "Javor", "Zelená", "Modrá", "Šalvěj"]),
    "pl": (["Joga", "Studio", "Salon", "Pracownia", "Fizjo", "Barber", "Pilates"],
           ["Pod Dębem", "Nad Wisłą", "Za Rogiem", "Luna", "Radość", "Klon", "Zielona", "Szałwia", "Stara Kamienica"]),
    "en": (["Yoga", "Studio", "Salon", "Atelier", "Physio", "Barber", "Pilates"],
           ["on the Green", "by the Mill", "Harbour", "Luna", "Oak", "Meadow", "Sage", "North", "Old Town"]),
}  # fmt: skip
MARKETS = {
    "cs": [("CZ", "Europe/Prague", 9), ("SK", "Europe/Bratislava", 1)],
    "pl": [("PL", "Europe/Warsaw", 1)],
    "en": [("GB", "Europe/London", 8), ("IE", "Europe/Dublin", 2), ("US", "America/New_York", 1),
           ("AU", "Australia/Sydney", 1)],
}  # fmt: skip
# How mobile numbers begin, before the last six digits.
_CALLED = {"CZ": "+420601", "SK": "+421901", "PL": "+48501", "GB": "+447700", "IE": "+353831", "US": "+12025", "AU": "+614120"}  # fmt: skip
TITLES = [("Owner", 5), ("Studio manager", 3), ("Receptionist", 2), ("Head of operations", 1), ("Trainer", 3)]
SOURCES = [("organic", 40), ("google-ads", 22), ("instagram", 16), ("referral", 9), ("trade-fair", 5), ("direct", 8)]


@dataclass(frozen=True)
class Firm:
    name: str
    domain: str
    country: str
    employees: int


@dataclass
class Person:
    """One invented person and her habits: how much she wants, how she reads mail, what she decides in the end."""

    number: int
    language: str
    country: str
    zone: str
    first_name: str
    last_name: str
    salutation: str
    email: str
    title: str
    firm: Firm | None
    source: str
    arrives: float  # days after the first day
    interest: float  # 0 … 1
    opens: float  # chance to open a mail
    clicks: float  # chance to click, once opened
    ends_known: bool
    anonymous_id: str = field(default="")
    contact_id: int | None = None


def plain(text: str) -> str:
    """Letters without marks, for addresses: Žaneta → zaneta, Łukasz → lukasz."""
    stripped = "".join(c for c in normalize("NFKD", text.replace("ł", "l").replace("Ł", "L")) if not combining(c))
    return "".join(c for c in stripped.lower().replace(" ", "-") if c.isalnum() or c == "-")


def phone_of(person: Person) -> str:
    """The mobile telephone of those who leave it in a form; empty for the others."""
    if Random(f"phone {person.number}").random() < 0.5:
        return ""
    return f"{_CALLED.get(person.country, '+420601')}{person.number:06d}"


def _pick(random: Random, choices):
    return random.choices([value for value, _ in choices], [weight for _, weight in choices])[0]


def _name(random: Random, language: str) -> tuple[str, str, str]:
    is_woman = random.random() < 0.6
    if language == "cs":
        masculine, feminine, vocative = random.choice(CZECH_SURNAMES)
        if is_woman:
            return random.choice(CZECH_WOMEN), feminine, f"Dobrý den, paní {feminine}"
        return random.choice(CZECH_MEN), masculine, f"Dobrý den, pane {vocative}"
    if language == "pl":
        masculine, feminine = random.choice(POLISH_SURNAMES)
        if is_woman:
            first, vocative = random.choice(POLISH_WOMEN)
            return first, feminine, f"Dzień dobry, Pani {vocative}"
        first, vocative = random.choice(POLISH_MEN)
        return first, masculine, f"Dzień dobry, Panie {vocative}"
    first = random.choice(ENGLISH_NAMES)
    return first, random.choice(ENGLISH_SURNAMES), f"Hello {first}"


def _firms(random: Random, count: int) -> dict[str, list[Firm]]:
    firms: dict[str, list[Firm]] = {language: [] for language in FIRM_NAMES}
    for number in range(count):
        language = random.choices(["cs", "pl", "en"], [55, 27, 18])[0]
        kind, place = (random.choice(part) for part in FIRM_NAMES[language])
        country = _pick(random, [(market[0], market[2]) for market in MARKETS[language]])
        # Most studios are tiny; a few have many branches.
        employees = min(240, max(1, round(random.lognormvariate(1.8, 0.95))))
        name = f"{kind} {place}"
        firms[language].append(Firm(name, f"{plain(name)}-{number}.example", country, employees))
    return firms


def people(random: Random, count: int, days: int) -> list[Person]:
    """`count` people who arrive over `days` days, more on weekdays and towards the end: the company grows."""
    firms = _firms(random, count // 5)
    result = []
    for number in range(count):
        language = random.choices(["cs", "pl", "en"], [55, 27, 18])[0]
        firm = random.choice(firms[language]) if random.random() < 0.7 else None
        markets = {market[0]: market for market in MARKETS[language]}
        country = firm.country if firm else _pick(random, [(key, market[2]) for key, market in markets.items()])
        zone = markets.get(country, MARKETS[language][0])[1]
        first, last, salutation = _name(random, language)
        domain = firm.domain if firm else random.choice(["posta.example", "mail.example", "skrzynka.example"])
        arrives = days * random.random() ** 0.8
        interest = random.betavariate(1.3, 2.6)
        result.append(
            Person(
                number=number,
                language=language,
                country=country,
                zone=zone,
                first_name=first,
                last_name=last,
                salutation=salutation,
                email=f"{plain(first)}.{plain(last)}{number}@{domain}",
                title=_pick(random, TITLES),
                firm=firm,
                source=_pick(random, SOURCES),
                arrives=arrives,
                interest=interest,
                opens=min(0.9, random.betavariate(2.2, 3) + 0.15 * interest),
                clicks=random.betavariate(1.6, 5) + 0.15 * interest,
                ends_known=random.random() < 0.35 + 0.6 * interest,
                anonymous_id=f"demo-{number:05d}-{random.getrandbits(48):012x}",
            )
        )
    return result
