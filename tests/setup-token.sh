#!/bin/sh
# Unpacks a FIDO token made of software, which OpenSSH's own tests sign with, under .cache/openssh-tests (TEST_CACHE: another
# directory than .cache). Needs apt. Installs nothing: the package would bring a server. Does nothing where it is there already.
set -eu

tests=$(cd "$(dirname "$0")" && pwd)
cache=${TEST_CACHE:-$(dirname "$tests")/.cache}
kept=$cache/openssh-tests

if [ ! -e "$kept/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so" ]; then
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/token.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    chmod 755 "$new"
    (cd "$new" && apt-get -qq -o APT::Sandbox::User=root download openssh-tests)
    dpkg-deb -x "$new"/openssh-tests_*.deb "$new/unpacked"
    rm -rf "$kept"
    mv "$new/unpacked" "$kept"
fi
