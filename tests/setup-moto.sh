#!/bin/sh
# Installs moto, the S3 server that our own one is held against, and Prometheus' parsers of metrics, under .cache/moto of this repository.
# Needs python3 with venv, and a Python package index. Does nothing where it is installed already.
set -eu

tests=$(cd "$(dirname "$0")" && pwd)
venv=$(dirname "$tests")/.cache/moto

if ! cmp -s "$tests/moto.txt" "$venv/installed.txt"; then
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$tests/moto.txt"
    # Last: an installation that broke off is made anew.
    cp "$tests/moto.txt" "$venv/installed.txt"
fi
