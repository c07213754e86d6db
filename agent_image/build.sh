#!/bin/bash
# Builds the agent images and prints their tags on standard output: `image=<tag>` and `image_claude=<tag>`.
# A tag holds a hash of everything that goes into the image, so what exists is not built again.
#
#   agent_image/build.sh --base <tag> [--engine docker|podman] [--only shell] [--quiet]
#
# SLIPWAY_PYTHON names the Python whose pip fetches the packages; SSL_CERT_FILE a CA bundle for package mirrors
# behind a company proxy.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=$here/../requirements/agent.lock
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/slipway
base=debian:bookworm-slim engine=docker only= quiet=

while [ $# -gt 0 ]; do
    case $1 in
        --base) base=$2; shift 2 ;;
        --engine) engine=$2; shift 2 ;;
        --only) only=$2; shift 2 ;;
        --quiet) quiet=1; shift ;;
        *) echo "unknown option: $1" >&2; exit 2 ;;
    esac
done

say() { echo "agent image: $*" >&2; }

# Two docker clients can be on the PATH, one of them without BuildKit: find one that has it.
find_client() {
    local candidate major
    if [ "$engine" != docker ]; then command -v "$engine"; return; fi
    while read -r candidate; do
        if "$candidate" buildx version >/dev/null 2>&1; then echo "$candidate"; return; fi
        major=$("$candidate" version --format '{{.Client.Version}}' 2>/dev/null | cut -d. -f1 || true)
        if [[ $major =~ ^[0-9]+$ ]] && [ "$major" -lt 23 ]; then echo "$candidate"; return; fi
    done < <(type -aP docker)
    return 1
}

client=$(find_client) || { say "no client of the engine $engine that can build with BuildKit is on the PATH"; exit 1; }
base_id=$("$client" image inspect --format '{{.Id}}' "$base" 2>/dev/null) || {
    say "pulling $base"
    "$client" pull "$base" >&2
    base_id=$("$client" image inspect --format '{{.Id}}' "$base")
}

hash_sources() {
    (cd "$here" && find __init__.py launch.py runner providers Dockerfile -name '__pycache__' -prune -o \
        -type f \( -name '*.py' -o -name Dockerfile \) -print0 | sort -z | xargs -0 sha256sum)
}
hash_of() { sha256sum | cut -c1-12; }
has_image() { "$client" image inspect "$1" >/dev/null 2>&1; }

context=
trap '[ -z "$context" ] || rm -rf "$context"' EXIT
make_context() {
    [ -z "$context" ] || return 0
    mkdir -p "$cache"
    context=$(mktemp -d "$cache/context.XXXXXX")
    (cd "$here" && tar -c --exclude=__pycache__ --exclude=tests __init__.py launch.py runner providers) |
        (mkdir -p "$context/agent_image" && tar -x -C "$context/agent_image" --no-same-owner)
    chmod -R u=rwX,go=rX "$context/agent_image"
    cp "$here/Dockerfile" "$context/"
}

build() { # <target> <tag>
    local options=(--target "$1" --tag "$2" --build-arg "BASE_IMAGE=$base" --label slipway.image=agent) name log
    for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
        if [ -n "${!name:-}" ]; then options+=(--build-arg "$name"); fi
    done
    # BuildKit takes a secret of at most 500 kB.
    if [ -s "${SSL_CERT_FILE:-}" ] && [ "$(stat -L -c %s "$SSL_CERT_FILE")" -lt 500000 ]; then
        options+=(--secret "id=extra_ca,src=$SSL_CERT_FILE")
    fi
    if [ "$engine" = docker ]; then options+=(--progress plain); fi
    say "building $2"
    if [ -z "$quiet" ]; then
        DOCKER_BUILDKIT=1 "$client" build "${options[@]}" "$context" >&2
        return
    fi
    log=$context.log
    if ! DOCKER_BUILDKIT=1 "$client" build "${options[@]}" "$context" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        rm -f "$log"
        say "building $2 failed"
        return 1
    fi
    rm -f "$log"
}

# The packages of the lock, for the Python, the C library and the machine of the image, not of this host.
fetch_packages() {
    local probe release machine glibc minor platforms=() folder new python
    probe='import platform,sys; print("%d.%d" % sys.version_info[:2], platform.machine(), platform.libc_ver()[1])'
    read -r release machine glibc < <("$client" run --rm --network none --entrypoint python3 "$1" -c "$probe")
    folder=$cache/packages-$( (cat "$lock"; echo "$release $machine $glibc") | hash_of)
    if [ ! -d "$folder" ]; then
        say "fetching the packages of requirements/agent.lock for Python $release on $machine"
        for minor in $(seq "${glibc#*.}" -1 17); do platforms+=(--platform "manylinux_2_${minor}_$machine"); done
        platforms+=(--platform "manylinux2014_$machine")
        python=${SLIPWAY_PYTHON:-$here/../.venv/bin/python}
        [ -x "$python" ] || python=python3
        new=$(mktemp -d "$cache/packages.XXXXXX")
        "$python" -m pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes \
            --only-binary :all: --python-version "$release" --implementation cp "${platforms[@]}" \
            --target "$new" -r "$lock" >&2
        rm -rf "$new/bin"
        chmod -R u=rwX,go=rX "$new"
        mv -T "$new" "$folder" 2>/dev/null || rm -rf "$new" # another build was faster
    fi
    cp -al "$folder" "$context/packages" 2>/dev/null || cp -a "$folder" "$context/packages"
}

image=slipway-agent:$( (hash_sources; echo "$base_id") | hash_of)
image_claude=slipway-agent-claude:$( (hash_sources; sha256sum <"$lock"; echo "$base_id") | hash_of)

if ! has_image "$image"; then
    make_context
    build shell "$image"
fi
echo "image=$image"
if [ "$only" = shell ]; then exit 0; fi
if ! has_image "$image_claude"; then
    make_context
    fetch_packages "$image"
    build claude "$image_claude"
fi
echo "image_claude=$image_claude"
