#!/usr/bin/env bash
# Installs the Debian packages that Tessera is built and tested with, if any is missing. Root or sudo.
set -euo pipefail
packages=(gcc libc6-dev make cmake ninja-build pkg-config git ca-certificates curl
          libpcre2-dev libjansson-dev libedit-dev libcmocka-dev
          python3 python3-venv clang llvm libclang-rt-14-dev)
missing=()
for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}" >&2
sudo=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: need root or sudo to install: ${missing[*]}" >&2; exit 1; }
    sudo=sudo
fi
$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
