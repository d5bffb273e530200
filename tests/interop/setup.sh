#!/usr/bin/env bash
# Installs the peers into tests/interop/.work: a Python venv with requirements.txt, and package-lock.json by npm.
# Does nothing if that has been done for these very files. Needs python3 (3.10 or later, with venv), node and npm.
# Proxies are the system's own: it only says which are missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The tests look at the same paths.
for proxy in /usr/bin/tinyproxy:tinyproxy-bin /usr/sbin/danted:dante-server /usr/sbin/squid:squid-openssl; do
    [ -x "${proxy%:*}" ] || echo "missing: ${proxy%:*} (apt-get install ${proxy#*:}); its tests will be skipped" >&2
done

# The tests compare the same.
if cat requirements.txt package-lock.json | cmp --silent - .work/installed; then
    exit 0
fi
rm -rf .work
mkdir -p .work/node
python3 -m venv .work/venv
.work/venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
cp package.json package-lock.json .npmrc .work/node/
npm ci --prefix .work/node --no-audit --no-fund --ignore-scripts
cat requirements.txt package-lock.json >.work/installed
