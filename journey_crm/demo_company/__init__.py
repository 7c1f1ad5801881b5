"""The demo company: believable, the same on every machine, made by running the real engine under a virtual clock."""

# User name, password, name, role: what `make up` prints.
LOGINS = [
    ("lenka", "lenka-demo", ("Lenka", "Malá"), "Administrator"),
    ("karel", "karel-demo", ("Karel", "Dvořák"), "Marketer"),
    ("petr", "petr-demo", ("Petr", "Svoboda"), "Sales rep"),
    ("ania", "ania-demo", ("Anna", "Kowalska"), "Sales rep"),
    ("marek", "marek-demo", ("Marek", "Horák"), "Sales rep"),
]
