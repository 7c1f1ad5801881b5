"""The house keeps its own rules."""

import ast
import re
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connection

ROOT = Path(__file__).resolve().parents[2]
APPS = ("contacts", "scoring", "messaging", "growth", "leads", "campaigns", "insights", "journey_crm")
FORBIDDEN_NAMES = {
    "utils",
    "helpers",
    "common",
    "base",
    "manager",
    "managers",
    "service",
    "services",
    "handler",
    "handlers",
}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "/migrations/" not in str(path)]


def imported_by(path: Path) -> set[str]:
    """The full names of the modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


# The table of docs/architecture.md.
ALLOWED = {
    "contacts": set(),
    "scoring": {"contacts"},
    "messaging": {"contacts"},
    "growth": {"contacts", "scoring", "messaging"},
    "leads": {"contacts", "scoring", "messaging"},
    "campaigns": {"contacts", "messaging", "growth"},
    "insights": set(APPS) - {"journey_crm", "insights"},
    "journey_crm": set(APPS),
}


@pytest.mark.parametrize("app", APPS)
def test_an_app_imports_only_what_the_table_allows(app):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(app)
        for name in sorted({full.split(".")[0] for full in imported_by(path)} & set(APPS) - ALLOWED[app] - {app})
    ]
    assert not wrong


def test_the_contracts_of_import_linter_say_the_same_as_the_table():
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    forbidden = {
        contract["source_modules"][0]: set(contract["forbidden_modules"])
        for contract in contracts
        if contract["type"] == "forbidden"
    }
    assert forbidden == {app: set(APPS) - ALLOWED[app] - {app} for app in APPS if app != "journey_crm"}


def test_no_module_is_named_after_nothing():
    assert not [str(path.relative_to(ROOT)) for path in sources(*APPS) if path.stem in FORBIDDEN_NAMES]


def test_no_app_imports_inside_functions_what_another_app_holds():
    """A hidden import hides a cycle; AppConfig.ready() is where Django itself asks for late imports."""
    found = []
    for path in sources(*APPS):
        if path.name == "apps.py":
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    name = node.module if isinstance(node, ast.ImportFrom) else ""
                    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [name or ""]
                    found += [
                        f"{path.relative_to(ROOT)}:{node.lineno} {one}" for one in names if one.split(".")[0] in APPS
                    ]
    assert not found


def test_there_is_no_missing_migration(db):
    out = StringIO()
    try:
        call_command("makemigrations", check=True, dry_run=True, stdout=out)
    except SystemExit:
        pytest.fail(f"A model changed without a migration:\n{out.getvalue()}")


def test_what_migrations_fill_is_not_emptied_by_flush(db):
    """A transactional test empties every managed table; asked here, where no such test has run yet."""
    ours = [model for model in apps.get_models() if model._meta.app_label in APPS]
    assert [model._meta.label for model in ours if model._meta.managed and model.objects.exists()] == []
    assert [model._meta.label for model in ours if not model._meta.managed and not model.objects.exists()] == []


def test_every_setting_of_the_environment_is_explained_in_env_example():
    pattern = re.compile(r"""(?:env\.(?:text|flag|number|words)|environ\.get)\(\s*["']([A-Z][A-Z_]+)["']""")
    read = {
        name
        for path in [*sources(*APPS), *sources("scripts")]
        for name in pattern.findall(path.read_text())
        if name not in {"DJANGO_SETTINGS_MODULE"}
    }
    explained = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert {"DATABASE_URL", "FAILPOINT"} <= read, "the search itself is broken"
    assert read - explained == set()
    assert explained - read == set(), "explained, but read nowhere"


@pytest.mark.parametrize("app", APPS)
def test_every_named_statement_says_its_purpose_and_is_used(app):
    from contacts.sql import load

    path = ROOT / app / "queries.sql"
    code = "\n".join(source.read_text() for source in sources(app))
    for name, statement in load(str(path)).items():
        assert statement.purpose, f"{name} has no sentence of purpose"
        # By its name, or as one of a family: SQL[f"invariant_{…}"].
        family = name.rpartition("_")[0]
        is_used = re.search(rf"""["']({name}["']|{family}_\w*{{)""", code)
        assert is_used, f"{app}: {name} is used nowhere"


# What stands in for the values of a run, by the parameter's name; any other is NULL.
_VALUES = {
    "now": datetime(2026, 11, 10, 9, tzinfo=UTC),
    "after": 0,
    "upto": 9,
    "size": 9,
    "limit": 9,
    "zone": "Europe/Prague",
}
# Their {fragments} are rules and querysets that exist at run time only; the tests of each run them.
_MADE_AT_RUN_TIME = {
    *("refresh_touched", "rebuild_segment", "set_turns"),
    *("find_teams", "assign_leads"),
    *("book_points", "book_fit", "stand", "move_stages", "stage_rises", "stage_leavers", "make_leads"),
    *("judge_messages", "arbitrate_messages", "read_judged", "claim_messages", "withdraw_messages"),
    *("hold_stragglers", "sweep_messages"),
    *("request_enrolments", "enrol", "versions_of_people", "reach_goals", "end_enrolments"),
    *("take_audience", "move_ask", "move_wait_for", "change_stream", "cast"),
    *("reach_walls", "reach_fields", "anybody_suppressed", "refusing_versions", "jump_at_goal"),
    *("measure", "ranked", "supersede_tracks", "resume_tracks"),
    *("open_versions_of", "reach_milestones", "tell_activated", "move_offer"),
    *("judge_offers", "protect_people", "end_protection"),
    *("unbury_loser", "give_back_columns"),
    *("count_grades", "fill_weighed"),
    *("clicks_by_link", "answers", "reasons_of_machines", "who_answered"),
}


@pytest.mark.parametrize("app", APPS)
def test_postgresql_can_plan_every_named_statement(app, db):
    """Each as it stands, over ingest's scratch tables; {name} is the statement of that name in the same file."""
    from contacts.sql import load

    path = ROOT / app / "queries.sql"
    for name, statement in load(str(ROOT / "contacts" / "queries.sql")).items():
        if name.startswith("make_"):
            statement.run()
    statements = load(str(path))
    left_out = set()
    for name, statement in statements.items():
        sql = statement.sql
        while nested := [key for key in re.findall(r"{(\w+)}", sql) if key in statements]:
            for key in nested:
                sql = sql.replace(f"{{{key}}}", statements[key].sql)
        if re.search(r"{[a-z_]+}", sql):
            left_out.add(name)
            continue
        values = {key: _VALUES.get(key) for key in re.findall(r"%\((\w+)\)s", sql)}
        is_query = re.match(r"(--.*\n|\s)*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", sql)
        if any(f"{{{name}}}" in other.sql for other in statements.values()):
            continue  # a part, planned with those that it is part of
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"EXPLAIN {sql}" if is_query else sql, values)
            except DatabaseError as error:
                pytest.fail(f"{app}: {name}: {error}")
    assert left_out == {name for name in _MADE_AT_RUN_TIME if name in statements}


def our_tasks() -> dict:
    from journey_crm.celery import app

    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if name.split(".")[0] in APPS}


def test_every_task_says_that_it_is_idempotent_and_takes_no_data():
    tasks = our_tasks()
    assert {"journey_crm.tasks.tick", "journey_crm.tasks.deliver", "journey_crm.tasks.sweep"} <= set(tasks)
    for name, task in tasks.items():
        assert getattr(task, "is_idempotent", False) is True, name
        arguments = task.run.__code__.co_argcount
        assert arguments == 0, f"{name} takes {arguments} arguments; a task finds its work in PostgreSQL"


def test_no_task_waits_in_the_broker():
    """Due times live in PostgreSQL: an eta or countdown is lost with the broker, and fills the worker's memory."""
    for path in sources(*APPS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                asked = {keyword.arg for keyword in node.keywords} & {"eta", "countdown"}
                assert not asked, f"{path.relative_to(ROOT)}:{node.lineno} {asked}"


def test_every_alarm_expires_before_two_more_of_it_wait_and_rings_a_known_task(settings):
    from journey_crm.celery import app

    for name, entry in app.conf.beat_schedule.items():
        assert entry["task"] in our_tasks(), name
        assert 0 < entry["options"]["expires"] <= max(5, 3 * float(entry["schedule"])), name
    assert app.conf.task_time_limit < app.conf.broker_transport_options["visibility_timeout"]
    assert app.conf.worker_eta_task_limit
    assert app.conf.task_acks_late
    assert app.conf.worker_prefetch_multiplier == 1


def test_every_dependency_has_its_reason_and_the_locks_hold_no_addresses():
    inside = False
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r"(dependencies|test|check) = \[", line):
            inside = True
        elif line.startswith("]"):
            inside = False
        elif inside and line.strip():
            assert re.search(r'",\s+# \S+', line), f"no reason: {line}"
    for name in ("requirements.txt", "requirements-test.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text, name


def test_make_help_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in shown.splitlines() if line.strip().startswith("make ")} == targets
    assert {"up", "test", "install", "check", "bench", "demo"} <= targets


def test_prepare_can_be_read_by_an_old_python():
    """It must be able to say that Python is too old, so its syntax must not be new."""
    ast.parse((ROOT / "scripts" / "prepare.py").read_text(), feature_version=(3, 6))
    assert sys.version_info >= (3, 11)


def test_the_extra_is_installed_where_it_is_asked_for_and_kept_where_it_is(monkeypatch, tmp_path):
    from scripts import prepare

    monkeypatch.setattr(prepare, "VENV", str(tmp_path))
    monkeypatch.delenv("EXTRAS", raising=False)
    assert prepare.lock_of("up") == "requirements.txt"
    monkeypatch.setenv("EXTRAS", "prediction")
    assert prepare.lock_of("up") == prepare.lock_of("install") == "requirements-prediction.txt"
    assert prepare.lock_of("test") == "requirements-test.txt"
    monkeypatch.delenv("EXTRAS")
    (tmp_path / "installed-requirements-prediction.txt").write_text("x")
    assert prepare.lock_of("up") == "requirements-prediction.txt"
