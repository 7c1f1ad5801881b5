# `make help` lists everything. The targets call small programs; what they do is said there.

# The first Python that is new enough, else python3, which then says what is missing.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
RUN = .venv/bin/python
APPS = contacts scoring messaging growth leads campaigns insights journey_crm

.DEFAULT_GOAL := help
.PHONY: help up test install dev check bench demo lock messages shots docs

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-9s %s\n", $$1, $$2}'

up: ## install what is missing and run everything; Ctrl-C stops it (PORT=8000)
	@$(PYTHON) scripts/prepare.py up

test: ## the whole test suite against a real PostgreSQL, broker, SMTP sink and browser (ARGS="-k name")
	@$(PYTHON) scripts/prepare.py test -n 2 --dist loadfile $(ARGS)

install: ## virtual environment and locked dependencies only
	@$(PYTHON) scripts/prepare.py install

dev: ## the same with everything that developers use
	@$(PYTHON) scripts/prepare.py dev

check: dev ## linters, types, import arrows, templates, missing migrations
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	DATABASE_URL=postgres://nobody@localhost/none $(RUN) -W ignore manage.py makemigrations --check --dry-run
	$(RUN) -m mypy
	$(RUN) -m mypy --strict --config-file= clients/python/journey_crm_client.py
	.venv/bin/lint-imports
	$(RUN) -m djlint --lint --quiet .
	git ls-files '*.py' ':!*/migrations/*' | xargs .venv/bin/django-upgrade --target-version 5.2 --check

bench: install ## the benchmarks, each beside its limit in the same run (NAME=ingest)
	@$(RUN) -m journey_crm.embedded $(RUN) -u manage.py bench $(NAME)

demo: install ## put the demo company back as it was on the first run
	@$(RUN) -m journey_crm.embedded $(RUN) -u manage.py demo --reset

lock: dev ## compile the locked requirements from pyproject.toml
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) pyproject.toml --extra prediction -c requirements.txt -o requirements-prediction.txt
	$(LOCK) pyproject.toml --group test -c requirements.txt -o requirements-test.txt
	$(LOCK) pyproject.toml --group test --group check -c requirements.txt -o requirements-dev.txt

# Without addresses: the lock carries versions and hashes only.
LOCK = .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header

messages: install ## collect what people read into locale/ and compile it (needs gettext)
	@$(RUN) -m scripts.messages

shots: ## pictures of the main screens of a running `make up`, into test-results/shots
	@$(PYTHON) scripts/prepare.py browser
	@$(RUN) -m scripts.shots --user lenka --password lenka-demo --server http://localhost:$${PORT:-8000} \
		--out test-results/shots $(or $(PAGES),/admin/ /sales/ /admin/campaigns/)

docs: ## writes the manuals of rules, journeys and routing from their tests, and says where the documentation is
	@$(PYTHON) -m scripts.rules_doc
	@$(PYTHON) -m scripts.journeys_doc
	@$(PYTHON) -m scripts.routing_doc
	@ls docs/*.md docs/adr/*.md
