#!/usr/bin/env bash
# broker.sh fetch | start [--fresh] | stop | forget | status
#
# One Apache Kafka node (KRaft: broker and controller in one process) on 127.0.0.1:$PORT, for tests,
# benchmarks and a first look without Docker. Not for production: one replica, no security.
#
#   fetch    copy Kafka's jars from Maven Central into the cache (start does it when needed)
#   start    start the node and wait until it takes connections; --fresh forgets its data first
#   stop     stop the node that this script started on $PORT
#   forget   stop it and delete its data
#   status   exit 0 and say so when the node runs, else exit 1
#
# Needs Java 17 or newer and Maven. Settings, from the environment:
#   PORT (29092), CONTROLLER_PORT (PORT + 1)
#   SPANLOOM_KAFKA_HOME (${XDG_CACHE_HOME:-~/.cache}/spanloom-kafka): jars, and data per port
#   SPANLOOM_KAFKA_JAVA_OPTS (-Xms256m -Xmx1g)
set -euo pipefail

PORT=${PORT:-29092}
CONTROLLER_PORT=${CONTROLLER_PORT:-$((PORT + 1))}
HOME_DIR=${SPANLOOM_KAFKA_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/spanloom-kafka}
read -ra JAVA_OPTS <<<"${SPANLOOM_KAFKA_JAVA_OPTS:--Xms256m -Xmx1g}"
POM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/pom.xml
JARS=$HOME_DIR/jars-$(cksum <"$POM" | cut -d' ' -f1) # another POM, another folder: never a mixture
NODE=$HOME_DIR/node-$PORT
CONFIG=$NODE/server.properties
START_SECONDS=60
STOP_SECONDS=30

say() { echo "broker.sh: $*"; }
fail() { echo "broker.sh: $*" >&2; exit 1; }

fetch() {
  [ ! -d "$JARS" ] || return 0
  command -v mvn >/dev/null || fail "mvn is missing: install Apache Maven (Debian: apt-get install maven)"
  mkdir -p "$HOME_DIR"
  local new
  new=$(mktemp -d "$HOME_DIR/fetch.XXXXXX")
  say "fetching Kafka's jars with Maven"
  if ! mvn --quiet --batch-mode --file "$POM" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$new" >"$HOME_DIR/fetch.log" 2>&1; then
    rm -rf "$new"
    tail -n 20 "$HOME_DIR/fetch.log" >&2
    fail "Maven could not fetch the jars named in $POM; the whole log is $HOME_DIR/fetch.log"
  fi
  # Two starts at once may both fetch; the first to arrive wins and the other's copy goes.
  mv -T "$new" "$JARS" 2>/dev/null || rm -rf "$new"
}

check_java() {
  command -v java >/dev/null || fail "java is missing: install Java 17 or newer (Debian: apt-get install default-jre-headless)"
  local major
  major=$(java -version 2>&1 | sed -nE 's/^[^"]*version "([0-9]+).*/\1/p' | head -n 1)
  [ "${major:-0}" -ge 17 ] || fail "java is version ${major:-unknown}, Kafka needs 17 or newer"
}

run_java() { java "${JAVA_OPTS[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$JARS/*" "$@"; }

node_pid() { # prints the pid of this script's node; fails when it does not run
  local pid
  pid=$(cat "$NODE/pid" 2>/dev/null) || return 1
  # A pid file outlives a reboot: only a process that was given our configuration is ours.
  # Small images have no ps, other systems no /proc.
  { tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o args= -p "$pid"; } 2>/dev/null |
    grep -F "kafka.Kafka $CONFIG" >/dev/null || return 1
  echo "$pid"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

write_config() {
  mkdir -p "$NODE"
  cat >"$CONFIG" <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$PORT
controller.listener.names=CONTROLLER
log.dirs=$NODE/data
auto.create.topics.enable=false
# One node holds every replica.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A test should not wait 3 s for more members to join.
group.initial.rebalance.delay.ms=0
END
  [ -f "$NODE/data/meta.properties" ] && return 0
  local cluster
  { cluster=$(run_java kafka.tools.StorageTool random-uuid) &&
    run_java kafka.tools.StorageTool format --standalone -t "$cluster" -c "$CONFIG"; } >>"$NODE/log" 2>&1 || {
    tail -n 20 "$NODE/log" >&2
    fail "cannot format $NODE/data; the whole log is $NODE/log"
  }
}

start() {
  local pid
  if [ "${1:-}" = --fresh ]; then
    forget
  elif [ -n "${1:-}" ]; then
    fail "start knows --fresh only, not '$1'"
  elif pid=$(node_pid); then
    say "already running on 127.0.0.1:$PORT (pid $pid)"
    return 0
  fi
  check_java
  fetch
  local port
  for port in "$PORT" "$CONTROLLER_PORT"; do
    ! listens "$port" || fail "port $port is taken by another process: stop it, or set PORT and CONTROLLER_PORT"
  done
  write_config
  nohup java "${JAVA_OPTS[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$JARS/*" \
    kafka.Kafka "$CONFIG" </dev/null >>"$NODE/log" 2>&1 &
  pid=$!
  echo "$pid" >"$NODE/pid"
  local deadline=$((SECONDS + START_SECONDS))
  until listens "$PORT"; do
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$NODE/log" >&2; fail "the node ended at once; the whole log is $NODE/log"; }
    if [ "$SECONDS" -ge "$deadline" ]; then
      stop
      fail "no answer on 127.0.0.1:$PORT within $START_SECONDS s; see $NODE/log"
    fi
    sleep 0.2
  done
  say "running on 127.0.0.1:$PORT (pid $pid)"
}

stop() {
  local pid
  pid=$(node_pid) || { say "no node of this script runs on 127.0.0.1:$PORT"; return 0; }
  kill "$pid"
  local deadline=$((SECONDS + STOP_SECONDS))
  while node_pid >/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "still running after $STOP_SECONDS s, killing it"
      kill -9 "$pid" 2>/dev/null || true
      break
    fi
    sleep 0.2
  done
  rm -f "$NODE/pid"
  say "stopped 127.0.0.1:$PORT (pid $pid)"
}

forget() {
  stop
  rm -rf "$NODE"
}

status() {
  local pid
  pid=$(node_pid) || fail "no node of this script runs on 127.0.0.1:$PORT"
  listens "$PORT" || fail "the node (pid $pid) does not answer on 127.0.0.1:$PORT yet"
  say "running on 127.0.0.1:$PORT (pid $pid)"
}

case "${1:-}" in
  fetch) check_java; fetch; say "jars are in $JARS" ;;
  start) start "${2:-}" ;;
  stop) stop ;;
  forget) forget ;;
  status) status ;;
  *) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
