#!/usr/bin/env bash
# Installs what drives the browser into tests/browser/.work: package-lock.json by npm. Does nothing if that has been done for this
# very file. Needs node (20 or later) and npm; the browser itself is the system's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The test compares the same.
if cmp --silent package-lock.json .work/installed; then
    exit 0
fi
rm -rf .work
mkdir -p .work
cp package.json package-lock.json .npmrc .work/
npm ci --prefix .work --no-audit --no-fund --ignore-scripts
cp package-lock.json .work/installed
