#!/bin/sh
# Installs packages into a container that becomes an image. Runs as root and with a network, so it runs nothing
# of what it installs: wheels and no source packages, no install scripts of npm packages, no git. Debian's scripts run.
# All that it was given, and all that it caches, lies below $here, which is gone before the image is made.
set -euf
exec 2>&1 </dev/null
here=/slipway-build
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
npm=$(command -v npm || true)
node=$(dirname "$(command -v node || echo /usr/bin/node)")
# From here on nothing is looked up where pip and npm put programs.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
set -a
. $here/environment
set +a
export HOME=$here/home TMPDIR=$here/tmp DEBIAN_FRONTEND=noninteractive APT_CONFIG=$here/apt.conf
mkdir -p "$HOME" "$TMPDIR"
chmod 1777 "$TMPDIR"
# What Debian's packages would start is not started.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 0755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi

is_updated=
apt_install() {
    if [ -z "$is_updated" ]; then apt-get -q update; is_updated=1; fi
    apt-get -q install -y --no-install-recommends --no-remove -- "$@"
}

if [ -s $here/apt ]; then
    echo "== apt"
    apt_install $(cat $here/apt)
fi
if [ -s $here/npm ]; then
    echo "== npm"
    if [ -z "$npm" ]; then apt_install npm; npm=/usr/bin/npm node=/usr/bin; fi
    PATH=$node:$PATH "$npm" install --global --prefix /usr/local --ignore-scripts --no-audit --no-fund \
        --git /bin/false --no-update-notifier --no-progress --cache $here/npm-cache -- $(cat $here/npm)
    rm -f /usr/local/lib/node_modules/.package-lock.json
fi
if [ -s $here/pip ]; then
    echo "== pip"
    if ! /usr/bin/python3 -I -m pip --version >/dev/null 2>&1; then apt_install python3-pip; fi
    # shellcheck disable=SC2046 # one word for each package is what is wanted
    /usr/bin/python3 -I -m pip install --only-binary :all: --no-cache-dir --break-system-packages \
        --root-user-action ignore --disable-pip-version-check --no-input --progress-bar off -- $(cat $here/pip)
fi

set +f
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/*.log /root/.npm /root/.cache
find / -xdev \( -path /proc -o -path /sys \) -prune -o -type f -perm /6000 -exec chmod a-s {} +
rm -rf $here
echo "== done"
