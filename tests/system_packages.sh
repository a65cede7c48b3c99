#!/bin/sh
# The tests talk to a real MQTT broker and open a page in a real browser. Installs Mosquitto and Chromium where that is
# possible, else says how to.
set -eu

# Distributions put the broker in /usr/sbin, which is not on every user's path.
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=""
command -v mosquitto >/dev/null || missing="mosquitto"
command -v mosquitto_sub >/dev/null || missing="${missing:+$missing }mosquitto-clients"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    missing="${missing:+$missing }chromium"
[ -n "$missing" ] || exit 0

refuse() {
    echo "tests: $1; the tests need Mosquitto, its clients and Chromium. Run: $2" >&2
    exit 1
}

if ! command -v apt-get >/dev/null; then
    if command -v brew >/dev/null; then
        refuse "$missing: not installed" "brew install mosquitto && brew install --cask google-chrome"
    elif command -v dnf >/dev/null; then
        refuse "$missing: not installed" "sudo dnf install mosquitto chromium"
    else
        refuse "$missing: not installed" "your package manager, to install mosquitto, mosquitto-clients and chromium"
    fi
fi

command="sudo apt-get update && sudo apt-get install -y $missing"
if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    refuse "$missing: not installed, and may not be without a password" "$command"
fi

echo "Installing $missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # both are lists of words
if ! { $as_root apt-get update -q && $as_root apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    refuse "$missing: could not be installed (see above)" "$command"
fi
