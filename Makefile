# The front door. Each target is one command; what it does is in deploy/.
.DEFAULT_GOAL := help
.PHONY: help demo up down test lint bench screenshots

PYTHON := .venv/bin/python
LOCAL := $(PYTHON) -m deploy.local

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## install what is missing, start everything, run one real task and show it live
	@deploy/bootstrap.sh
	@$(LOCAL) demo

up: ## start the whole stack in the background and wait until it is healthy
	@deploy/bootstrap.sh
	@$(LOCAL) up

down: ## stop the stack: processes and sandboxes; data stays
	@[ ! -x $(PYTHON) ] || $(LOCAL) down

test: ## install what is missing, then run every check and test
	@deploy/check.sh

lint: ## the checks that need no server
	@deploy/check.sh --lint

bench: ## the benchmarks, each figure beside its baseline
	@deploy/bootstrap.sh --dev
	@$(LOCAL) images --dir .local --write .local/images.env
	@set -a; . .local/images.env; set +a; $(PYTHON) -m benchmarks

screenshots: ## every page in light, dark and phone width, as pictures in .local/screenshots
	@deploy/bootstrap.sh --dev
	@$(LOCAL) images --dir .local --write .local/images.env
	@set -a; . .local/images.env; set +a; $(PYTHON) -m tests.browser.screenshots
