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

# What drives the running product waits for much of its time: it runs beside the rest, each with its own servers.
# A test that fails runs once more, and is reported as RERUN even if it passes then (docs/adr/0016).
product=(tests/stack tests/browser tests/frontdoor)
run_tests() {
    local name=$1
    shift
    SLIPWAY_TEST_NAME=$name "$bin/python" -m pytest --reruns 1 -r fER "$@"
}
run_side_by_side() {
    local output=.local/product.out is_good=0
    run_tests product "${product[@]}" >"$output" 2>&1 &
    local beside=$!
    trap 'kill "$beside" 2>/dev/null' EXIT
    run_tests test "${product[@]/#/--ignore=}" || is_good=1
    echo "== tests of the running product"
    wait "$beside" || is_good=1
    trap - EXIT
    cat "$output"
    return "$is_good"
}
if [ $# -gt 0 ]; then
    check "tests" run_tests test "$@"
else
    check "tests" run_side_by_side
fi
