# Every target does its own set-up: Debian packages, .venv, the lab's image. What is there already
# is kept; the stamp of .venv is named by a digest of its inputs.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
unexport PYTHONPATH

python := .venv/bin/python
pytest := $(python) -m pytest
ARGS ?=
# What the lab's hosts are: bookworm or trixie. make test-full has them be each in turn.
REMUS_HA_LAB_RELEASE ?= bookworm
RELEASE = $(REMUS_HA_LAB_RELEASE)
export REMUS_HA_LAB_RELEASE := $(RELEASE)
releases = $(RELEASE)

# All runs, whatever the first one says; $(1) are the lab's arguments. Either kind may have no test that
# ARGS choose (pytest's status 5). The directory's name is short: a unix socket's path below it has to fit
# into 108 octets; it stays where tests failed.
define whole
files=$$(mktemp -d /tmp/rh.XXXX) && native=0 lab=0; \
$(pytest) -n 3 --dist loadgroup --basetemp=$$files tests/unit tests/model tests/functional $(ARGS) || \
    native=$$?; \
[ $$native != 0 ] && [ $$native != 5 ] || rm -rf $$files; \
for release in $(releases); do \
    REMUS_HA_LAB_RELEASE=$$release $(pytest) tests/lab $(1) $(ARGS) || \
        { status=$$?; [ $$status = 5 ] && [ $$lab != 0 ] || lab=$$status; }; \
done; \
case $$native.$$lab in 0.[05] | 5.0) ;; *) exit 1 ;; esac
endef

ensure_image = from remus_ha.lab import image, progress, release; \
    image.ensure(release.default_release(), progress.Progress())

digest = $(shell { pwd; cat $(1); } | sha256sum | cut -c 1-16)
venv_stamp := .venv/stamp-$(call digest,requirements.txt setup.cfg setup.py tools/setup-venv)

.PHONY: help demo test test-full test-lab lint unit model functional bench docs image clean
.PHONY: need-root base-packages lab-packages

help:
	@echo 'make demo              a guest survives the power cut of its host, on real Xen'
	@echo 'make test              lint, types, unit, model, functional, the gate of the lab'
	@echo 'make test-full         every test, every lab story, every round, on each release of Debian'
	@echo 'make test-lab ARGS=... lab stories with arguments of pytest'
	@echo 'make lint | unit | model | functional    one part of the tests'
	@echo 'make bench             figures beside xl remus, out/bench/report.json'
	@echo 'make docs              the documentation, build/docs/html'
	@echo 'make image             the image that the lab boots'
	@echo 'make ... RELEASE=trixie    a lab of another release than bookworm'
	@echo 'make clean             remove what was built; the lab has to be down'

demo: image
	$(python) -m remus_ha.lab.demo $(ARGS)

# Natively several at once, since most of them wait for something; one lab at a time. The checks of
# tools/lint are tests.
test: image
	@$(call whole,-m gate)

test-full: export REMUS_HA_FULL = 1
test-full: releases = bookworm trixie
test-full: image
	@$(call whole)

test-lab: image
	$(pytest) tests/lab $(ARGS)

lint: $(venv_stamp)
	tools/lint $(ARGS)

unit model: $(venv_stamp)
	$(pytest) tests/$@ $(ARGS)

functional: need-root $(venv_stamp) lab-packages
	$(pytest) tests/functional $(ARGS)

bench: image
	$(python) -m benchmarks $(ARGS)

docs: $(venv_stamp)
	$(python) -m sphinx -W --keep-going -q -b html doc/source build/docs/html
	$(python) -m sphinx -W --keep-going -q -b man doc/source build/docs/man
	@if [ "$$(git rev-parse --is-shallow-repository 2>&1)" != false ]; then \
	    echo 'Release notes left out: they need the whole history (git fetch --unshallow).'; \
	else \
	    $(python) -m sphinx -W -q -b html releasenotes/source build/docs/releasenotes; \
	fi
	@echo 'build/docs/html/index.html, build/docs/man'

image: need-root $(venv_stamp) lab-packages
	@for release in $(releases); do \
	    REMUS_HA_LAB_RELEASE=$$release $(python) -c '$(ensure_image)' || exit 1; \
	done

clean:
	rm -rf build out .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find remus_ha tests benchmarks doc -name __pycache__ -prune -exec rm -rf {} +

need-root:
	@[ "$$(id -u)" = 0 ] || { \
	    echo 'This needs root: it makes network namespaces and taps and boots Xen hosts.' >&2; \
	    echo 'Run it again as root. Without root: make lint, unit, model, docs.' >&2; \
	    exit 1; }

base-packages:
	@tools/setup-packages

lab-packages: need-root
	@tools/setup-packages lab test

$(venv_stamp): | base-packages
	@tools/step venv tools/setup-venv
	@rm -f .venv/stamp-* && touch $@
