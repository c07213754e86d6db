#!/bin/bash
# Builds the agent images and prints a line for each on standard output: `image=<tag>` for the target `shell`,
# `image_claude=<tag>` and so on for the others. A tag holds a hash of everything that goes into the image, so what
# exists is not built again.
#
#   agent_image/build.sh --base <tag> [--engine docker|podman] [--only shell,claude,…] [--tags] [--quiet]
#
# Targets: shell, claude, codex, opencode, browser; without --only the first two. --tags builds nothing. A target that
# cannot be built does not stop those after it; the exit status tells.
# SLIPWAY_PYTHON names the Python whose pip fetches the packages; SSL_CERT_FILE a CA bundle for package mirrors
# behind a company proxy.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$here/../requirements
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/slipway
base=debian:bookworm-slim engine=docker only=shell,claude tags= quiet=

while [ $# -gt 0 ]; do
    case $1 in
        --base) base=$2; shift 2 ;;
        --engine) engine=$2; shift 2 ;;
        --only) only=$2; shift 2 ;;
        --tags) tags=1; shift ;;
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

# What the image runs on: Python, machine and C library are those of the image, not of this host.
probe_image() { # <image>
    local probe='import platform,sys; print("%d.%d" % sys.version_info[:2], platform.machine(), platform.libc_ver()[1])'
    "$client" run --rm --network none --entrypoint python3 "$1" -c "$probe"
}

# A folder that is filled once, beside others: `fill` puts files into the folder that it is given.
cached() { # <name> <fill> [argument]…
    local folder=$cache/$1 fill=$2 new
    shift 2
    if [ ! -d "$folder" ]; then
        new=$(mktemp -d "$cache/fetching.XXXXXX")
        if ! "$fill" "$new" "$@"; then rm -rf "$new"; return 1; fi
        chmod -R u=rwX,go=rX "$new"
        mv -T "$new" "$folder" 2>/dev/null || rm -rf "$new" # another build was faster
    fi
    echo "$folder"
}
put_in_context() { # <folder> <name>
    [ -e "$context/$2" ] || cp -al "$1" "$context/$2" 2>/dev/null || cp -a "$1" "$context/$2"
}

fill_with_wheels() { # <folder> <lock> <release> <machine> <glibc>
    local minor platforms=() python
    say "fetching the packages of $(basename "$2") for Python $3 on $4"
    for minor in $(seq "${5#*.}" -1 17); do platforms+=(--platform "manylinux_2_${minor}_$4"); done
    platforms+=(--platform "manylinux2014_$4")
    python=${SLIPWAY_PYTHON:-$here/../.venv/bin/python}
    [ -x "$python" ] || python=python3
    "$python" -m pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes \
        --only-binary :all: --python-version "$3" --implementation cp "${platforms[@]}" \
        --target "$1" -r "$2" >&2 && rm -rf "$1/bin"
}
fetch_wheels() { # <image> <lock>
    local release machine glibc
    read -r release machine glibc < <(probe_image "$1")
    cached "packages-$( (cat "$2"; echo "$release $machine $glibc") | hash_of)" \
        fill_with_wheels "$2" "$release" "$machine" "$glibc"
}

fill_with_codex() { # <folder> <wheels>
    mkdir "$1/bin" && cp -al "$2/codex_cli_bin/bin/codex" "$1/bin/codex"
}

fill_with_opencode() { # <folder> <package> <version> <integrity>
    local tarball found
    command -v npm >/dev/null || { say "npm is needed to fetch $2"; return 1; }
    say "fetching $2 $3"
    tarball=$(cd "$1" && npm pack --silent --ignore-scripts --userconfig /dev/null "$2@$3") || return 1
    found=sha512-$(openssl dgst -sha512 -binary "$1/$tarball" | base64 -w 0)
    [ "$found" = "$4" ] || { say "$2 $3 is not what requirements/opencode.lock says"; return 1; }
    tar -xzf "$1/$tarball" -C "$1" --no-same-owner package/bin/opencode && rm "$1/$tarball" &&
        mv "$1/package/bin" "$1/bin" && rmdir "$1/package"
}

# What a target needs in the context beside the sources.
add_claude() { local found; found=$(fetch_wheels "$image" "$requirements/agent.lock") && put_in_context "$found" packages; }
add_codex() {
    local wheels found
    wheels=$(fetch_wheels "$image" "$requirements/codex.lock") || return 1
    found=$(cached "codex-$(hash_of <"$requirements/codex.lock")" fill_with_codex "$wheels") || return 1
    put_in_context "$found" codex
}
add_opencode() {
    local machine package version integrity found
    machine=$(probe_image "$image" | cut -d' ' -f2)
    read -r _ package version integrity < <(grep "^$machine " "$requirements/opencode.lock") ||
        { say "requirements/opencode.lock has no package for $machine"; return 1; }
    found=$(cached "$package-$version" fill_with_opencode "$package" "$version" "$integrity") || return 1
    put_in_context "$found" opencode
}
add_shell() { :; }
add_browser() { :; }

ensure() { # <target> <tag>
    has_image "$2" && return 0
    make_context && "add_$1" && build "$1" "$2"
}

tag_of() { # <target>
    case $1 in
        shell) echo "$image" ;;
        claude) echo "slipway-agent-claude:$( (echo "$image"; cat "$requirements/agent.lock") | hash_of)" ;;
        codex | opencode) echo "slipway-agent-$1:$( (echo "$image"; cat "$requirements/$1.lock") | hash_of)" ;;
        browser) echo "slipway-agent-browser:${image#*:}" ;;
        *) say "unknown target: $1"; return 2 ;;
    esac
}

image=slipway-agent:$( (hash_sources; echo "$base_id") | hash_of)
failed=0
if [ -z "$tags" ] && ! ensure shell "$image"; then exit 1; fi
for target in ${only//,/ }; do
    tag=$(tag_of "$target")
    if [ -z "$tags" ] && ! ensure "$target" "$tag"; then
        failed=1
        continue
    fi
    if [ "$target" = shell ]; then echo "image=$tag"; else echo "image_$target=$tag"; fi
done
exit "$failed"
