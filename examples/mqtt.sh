#!/bin/sh
# Prints the final emotions that MEDUSA live servers publish to an MQTT broker, one JSON object a line, until interrupted:
#   sh examples/mqtt.sh [BROKER] [PORT]
# Needs mosquitto_sub (package mosquitto-clients). Topics are PREFIX/SESSION/CHANNEL/TYPE, with `[mqtt] prefix`.
set -eu
mosquitto_sub -h "${1:-127.0.0.1}" -p "${2:-1883}" -q 1 -t "${MEDUSA_MQTT__PREFIX:-medusa/v1}/+/+/emotion" |
    grep --line-buffered '"final":true'
