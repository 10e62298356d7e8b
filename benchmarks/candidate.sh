#!/usr/bin/env bash
# The shipped worker as a candidate of a trace-join comparison: reads IN_TOPIC, joins eight-stage
# traces, writes each whole trace to a topic of its own and its JSON summary to OUT_TOPIC, both in
# the transaction that moves the position. Ends by itself after SPANS spans.
#
# Environment: BROKER IN_TOPIC OUT_TOPIC GROUP STATE_DIR SPANS SCHEMA (the Avro schema's path);
# SPANLOOM_PYTHON names the interpreter (.venv of the repository), ARGS goes to the worker.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${SPANLOOM_PYTHON:-$here/../.venv/bin/python}
export PYTHONPATH=$here/..${PYTHONPATH:+:$PYTHONPATH}

# The worker's defaults, but for the cut: a backlog needs no answer three times a second.
export SPANLOOM_CUT_INTERVAL_SECONDS=${SPANLOOM_CUT_INTERVAL_SECONDS:-1}

mkdir -p "$STATE_DIR"
cp "$SCHEMA" "$STATE_DIR/span.avsc"
cp "$here/candidate-profile.yaml" "$STATE_DIR/profile.yaml"
spanloom() { "$python" -m streams.cli.main "$@"; }

# Every name holds GROUP: whoever started this finds the topics again and deletes them.
spanloom topics create --broker "$BROKER" --partitions 4 --input-topic "$IN_TOPIC" \
  --derived-prefix "$GROUP." > "$STATE_DIR/topics.txt"
# shellcheck disable=SC2086
spanloom worker --broker "$BROKER" --group "$GROUP" --state-dir "$STATE_DIR" \
  --contract "$here/candidate.yaml" --profile "$STATE_DIR/profile.yaml" \
  --input-topic "$IN_TOPIC" --derived-prefix "$GROUP." --summary-topic "$OUT_TOPIC" \
  --fixed-waits 30 --closed-retention 60 --exit-after "$SPANS" --log-level WARNING ${ARGS:-}
