#!/usr/bin/env bash
# Makes a bare Debian or Ubuntu machine ready for Slipway: system packages, then the virtual environment.
# May be run any number of times; it takes a fraction of a second when nothing is missing.
#
#   deploy/bootstrap.sh          what running Slipway needs
#   deploy/bootstrap.sh --dev    what its checks and tests need too
set -euo pipefail
cd "$(dirname "$0")/.."

lock=requirements/services.lock
is_dev=
if [ "${1:-}" = --dev ]; then
    lock=requirements/dev.lock
    is_dev=yes
fi
venv=.venv
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

begin() { step=$1 step_started=$SECONDS; echo "  · $step …"; }
finish() { echo "  ✓ $step ($((SECONDS - step_started)) s)"; }
has() { command -v "$1" >/dev/null 2>&1; }

# --- system packages --------------------------------------------------------------------------------------------
is_python_fit() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if has "$name" && is_python_fit "$name"; then command -v "$name"; return; fi
    done
    return 1
}
engine_answers() { has docker && timeout 10 docker version >/dev/null 2>&1; }

missing_packages() {
    local python
    if python=$(find_python); then
        # Debian's own interpreter comes without ensurepip; then a virtual environment has no pip.
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "$(basename "$(readlink -f "$python")")-venv"
    else
        echo python3 python3-venv
    fi
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
    has redis-server || echo redis-server
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || echo rabbitmq-server
    has bwrap || echo bubblewrap
    # Workspaces lie in disk images of a fixed size, mounted while they are used.
    has mkfs.ext4 || echo e2fsprogs
    has losetup || echo mount
    has curl || echo curl
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    if ! has docker || { ! has dockerd && ! engine_answers; }; then
        echo docker.io
        # With AppArmor in the kernel, the engine starts no container without its tools.
        if grep -qs Y /sys/module/apparmor/parameters/enabled && ! has apparmor_parser; then echo apparmor; fi
    fi
    has iptables || echo iptables
    has debootstrap || echo debootstrap
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
    if [ -n "$is_dev" ] && ! has chromium; then echo chromium; fi
    # The conformance suite of the protocol is an npm package; the Node that it needs is another.
    if [ -n "$is_dev" ] && ! has npm; then echo npm; fi
}

install_packages() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "These packages are missing, and installing them needs root. Please run:" >&2
            echo "    sudo apt-get install $*" >&2
            exit 2
        fi
        as_root=(sudo -n)
    fi
    if ! has apt-get; then
        echo "Missing here, and there is no apt-get to install it with: $*" >&2
        exit 2
    fi
    begin "system packages: $*"
    # Slipway runs private servers; apt must not start its own beside them. 101 means: not allowed.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -euc '
        policy=/usr/sbin/policy-rc.d
        [ ! -e "$policy" ] || mv "$policy" "$policy.before-slipway"
        restore() {
            rm -f "$policy"
            [ ! -e "$policy.before-slipway" ] || mv "$policy.before-slipway" "$policy"
        }
        trap restore EXIT
        printf "#!/bin/sh\nexit 101\n" >"$policy"
        chmod 755 "$policy"
        log=$(mktemp)
        failed() { tail -n 30 "$log" >&2; exit 1; }
        apt-get update >"$log" 2>&1 || failed
        # Newer releases have the client and its builder in packages of their own.
        case " $* " in
            *" docker.io "*)
                for name in docker-cli docker-buildx; do
                    if apt-cache show "$name" >/dev/null 2>&1; then set -- "$@" "$name"; fi
                done ;;
        esac
        apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 || failed
        rm -f "$log"
    ' sh "$@"
    finish
}

mapfile -t missing < <(missing_packages | tr ' ' '\n')
if [ "${#missing[@]}" -gt 0 ]; then install_packages "${missing[@]}"; fi

# --- the virtual environment ------------------------------------------------------------------------------------
python=$(find_python) || { echo "Slipway needs Python 3.11 or newer; this machine has none." >&2; exit 2; }
stamp=$venv/.slipway-$(basename "$lock").sha256
client=clients/python
wanted=$(sha256sum requirements/bootstrap.lock "$lock" $client/pyproject.toml | sha256sum | cut -d' ' -f1)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

begin "python packages"
if [ ! -x "$venv/bin/python" ] || ! is_python_fit "$venv/bin/python"; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock

# uv does not read pip's configuration: hand it the indexes that this machine's pip uses. Hashes are required, so
# it does not matter which index a file comes from.
pip_setting() { "$venv/bin/python" -m pip config get "global.$1" 2>/dev/null || true; }
export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(pip_setting index-url)}}"
[ -n "$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX
if [ -z "${UV_INDEX:-}" ]; then
    more=
    for index in ${PIP_EXTRA_INDEX_URL:-$(pip_setting extra-index-url)}; do
        case $index in
            file://*) [ -n "$(ls -A "${index#file://}" 2>/dev/null)" ] || continue ;;
        esac
        more="$more $index"
    done
    [ -z "$more" ] || export UV_INDEX="${more# }"
fi
# Certificates: those of the system (company proxies), as pip takes them from PIP_CERT.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
export SSL_CERT_FILE="${SSL_CERT_FILE:-${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}}"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --index-strategy unsafe-best-match \
    --require-hashes -r "$lock"
# The command `slipway`, from this tree: uv builds it by itself, and what it needs is in the lock.
"$venv/bin/uv" pip install --quiet --offline --no-deps --python "$venv/bin/python" --editable "$client"
echo "$wanted" >"$stamp"
# The developers' lock holds all that running needs.
if [ -n "$is_dev" ]; then
    sha256sum requirements/bootstrap.lock requirements/services.lock $client/pyproject.toml | sha256sum | cut -d' ' -f1 \
        >"$venv/.slipway-services.lock.sha256"
fi
finish
