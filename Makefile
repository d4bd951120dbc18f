# make demo    a running shop on 127.0.0.1, with the sandbox in place of Stripe
# make test    the whole suite; ARGS goes to pytest
# Both make their own environment and install what they need.

PYTHON  ?= python3
VENV    ?= .venv
PORT    ?= 8000
export PORT
WORKERS ?= 2
ARGS    ?=
# More requirements for a fresh environment: make test VENV=.venv-60 WITH="Django~=6.0.0"
WITH    ?=

PY     := $(VENV)/bin/python
MANAGE := PYTHONUNBUFFERED=1 $(PY) example_project/manage.py

# What a shell may carry that would send Python, pip or Django elsewhere.
unexport DJANGO_SETTINGS_MODULE PYTHONHOME PYTHONPATH PIP_PREFIX PIP_TARGET
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint format messages clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-demo
	@$(MANAGE) migrate --verbosity 0
	@$(MANAGE) seed_demo
	@$(MANAGE) runserver 127.0.0.1:$(PORT)

test: $(VENV)/.installed-test
	$(PY) -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

lint: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/.installed-dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# Needs GNU gettext. The date says nothing, and would be in every diff.
messages: $(VENV)/.installed-demo
	cd django_krcard && $(abspath $(PY)) -m django makemessages --locale ko --locale en \
		--ignore "sandbox/*" --add-location file --no-wrap --no-obsolete
	sed -i.bak '/^"POT-Creation-Date:/d' django_krcard/locale/*/LC_MESSAGES/django.po
	rm django_krcard/locale/*/LC_MESSAGES/django.po.bak
	cd django_krcard && $(abspath $(PY)) -m django compilemessages

clean:
	rm -rf $(VENV) build dist *.egg-info

# One stamp for each set of extras, so that the demo does not wait for the tools of the suite.
$(VENV)/.installed-%: setup.cfg pyproject.toml | $(PY)
	@echo "Installing into $(VENV) ..."
	@$(PY) -m pip install -qq --editable ".[$*]" $(WITH)
	@touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed, and '$(PYTHON)' is not. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
