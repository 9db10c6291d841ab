#!/usr/bin/env bash
# venv.sh: the Python environment of the tests, build/venv, from tests/py/requirements.txt. Made again only when
# that file or the interpreter changes.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=tests/py/requirements.txt
stamp=build/venv/.stamp
want="$(python3 -V) $(sha256sum <"$requirements")"
[ -e "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0
mkdir -p build
rm -rf build/venv
python3 -m venv build/venv
build/venv/bin/pip install --quiet --disable-pip-version-check --no-input -r "$requirements"
echo "$want" >"$stamp"
