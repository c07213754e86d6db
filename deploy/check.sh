#!/usr/bin/env bash
# Runs every check and test, real servers and sandboxes included. `--lint`: only the checks that need no server.
# Arguments after `--` go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

scope=all
if [ "${1:-}" = --lint ]; then scope=lint; shift; fi
if [ "${1:-}" = -- ]; then shift; fi
bin=.venv/bin

check() {
    local name=$1 started=$SECONDS
    shift
    echo "== $name"
    if ! "$@"; then
        echo "== $name FAILED after $((SECONDS - started)) s" >&2
        exit 1
    fi
    echo "== $name: ok ($((SECONDS - started)) s)"
}

# The type checker's Django plug-in loads the settings; nothing listens behind these.
with_settings() {
    (set -a && . deploy/check.env && "$@")
}

check "what is needed" deploy/bootstrap.sh --dev
check "ruff" "$bin/ruff" check
check "format" "$bin/ruff" format --check
check "types" with_settings "$bin/mypy"
check "imports" "$bin/lint-imports"
if [ "$scope" = lint ]; then exit 0; fi

images=.local/images.env
check "engine and images" "$bin/python" -m deploy.local images --dir .local --write "$images"
set -a
# shellcheck source=/dev/null
. "$images"
set +a
check "tests" "$bin/python" -m pytest "$@"
