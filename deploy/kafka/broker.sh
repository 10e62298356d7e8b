#!/usr/bin/env bash
# broker.sh fetch | start [--fresh] [--secure] | stop | forget | status
#
# One Apache Kafka node (KRaft: broker and controller in one process) on 127.0.0.1:$PORT, for tests,
# benchmarks and a first look without Docker. Not for production: one replica, and no security
# unless asked for.
#
#   fetch    copy Kafka's jars from Maven Central into the cache (start does it when needed)
#   start    start the node and wait until it takes connections; --fresh forgets its data first;
#            --secure: no listener without TLS and a known user, and no right that no ACL grants
#   stop     stop the node that this script started on $PORT
#   forget   stop it and delete its data
#   status   exit 0 and say so when the node runs, else exit 1
#
# Needs Java 17 or newer and Maven. Settings, from the environment:
#   PORT (29092), CONTROLLER_PORT (PORT + 1)
#   TLS_PORT (PORT + 2): with --secure, the listener that knows users by their certificate
#   START_SECONDS (240): how long the node may take to answer; one that ends is told at once
#   EXTRA_PROPERTIES: a file of more lines for server.properties, which win
#   SPANLOOM_KAFKA_HOME (${XDG_CACHE_HOME:-~/.cache}/spanloom-kafka): jars, and data per port
#   SPANLOOM_KAFKA_JAVA_OPTS (-Xms256m -Xmx1g)
#
# The secure node: SASL_SSL on $PORT (SCRAM-SHA-512, SCRAM-SHA-256, PLAIN, OAUTHBEARER), SSL with a
# client certificate on $TLS_PORT. Its secrets are made when it first starts and lie in
# node-$PORT/secure, for their owner's eyes only: ca.pem, admin.pem and admin.key (the super user, on
# $TLS_PORT), plain.password (of user plain), token.key (signs OAUTHBEARER tokens). Other users:
# certificates.sh for certificates, kafka-configs or any admin client for SCRAM, ACLs for rights.
set -euo pipefail

PORT=${PORT:-29092}
CONTROLLER_PORT=${CONTROLLER_PORT:-$((PORT + 1))}
HOME_DIR=${SPANLOOM_KAFKA_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/spanloom-kafka}
TLS_PORT=${TLS_PORT:-$((PORT + 2))}
read -ra JAVA_OPTS <<<"${SPANLOOM_KAFKA_JAVA_OPTS:--Xms256m -Xmx1g}"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
POM=$HERE/pom.xml
JARS=$HOME_DIR/jars-$(cksum <"$POM" | cut -d' ' -f1) # another POM, another folder: never a mixture
NODE=$HOME_DIR/node-$PORT
CONFIG=$NODE/server.properties
SECURE=$NODE/secure # there when the node is secure, so that a restart without the flag stays so
START_SECONDS=${START_SECONDS:-240} # a busy machine is no broken one
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

make_secrets() {
  [ -d "$SECURE" ] && return 0
  mkdir -p "$NODE"
  local new
  new=$(mktemp -d "$NODE/secure.XXXXXX") # mode 700; whole, or not there
  (
    umask 077
    "$HERE/certificates.sh" "$new" broker admin
    openssl rand -hex 24 >"$new/plain.password"
    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$new/token.key"
    local modulus
    modulus=$(openssl rsa -in "$new/token.key" -noout -modulus | sed 's/^Modulus=//;s/../\\x&/g')
    modulus=$(printf '%b' "$modulus" | base64 -w 0 | tr '+/' '-_' | tr -d '=')
    echo "{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"RS256\",\"use\":\"sig\",\"kid\":\"1\",\"e\":\"AQAB\",\"n\":\"$modulus\"}]}" \
      >"$new/jwks.json"
  )
  mv -T "$new" "$SECURE"
}

secure_config() {
  local listener=listener.name.sasl_ssl
  local scram=org.apache.kafka.common.security.scram.ScramLoginModule
  local oauth=org.apache.kafka.common.security.oauthbearer
  cat <<END
listeners=SASL_SSL://127.0.0.1:$PORT,SSL://127.0.0.1:$TLS_PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
advertised.listeners=SASL_SSL://127.0.0.1:$PORT,SSL://127.0.0.1:$TLS_PORT
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL
inter.broker.listener.name=SSL
ssl.keystore.type=PEM
ssl.keystore.location=$SECURE/broker.both.pem
ssl.truststore.type=PEM
ssl.truststore.location=$SECURE/ca.pem
listener.name.ssl.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*\$/\$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:broker;User:admin
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER
$listener.scram-sha-512.sasl.jaas.config=$scram required;
$listener.scram-sha-256.sasl.jaas.config=$scram required;
$listener.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_plain="$(cat "$SECURE/plain.password")";
$listener.oauthbearer.sasl.jaas.config=$oauth.OAuthBearerLoginModule required;
$listener.oauthbearer.sasl.server.callback.handler.class=$oauth.OAuthBearerValidatorCallbackHandler
# Named, because the default of 4.1.0 looks at neither signature nor audience.
$listener.oauthbearer.sasl.oauthbearer.jwt.validator.class=$oauth.BrokerJwtValidator
sasl.oauthbearer.jwt.validator.class=$oauth.BrokerJwtValidator
sasl.oauthbearer.jwks.endpoint.url=file://$SECURE/jwks.json
sasl.oauthbearer.expected.audience=kafka
END
}

plain_config() {
  cat <<END
listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$PORT
END
}

write_config() {
  mkdir -p "$NODE"
  rm -f "$CONFIG"
  (umask 077; : >"$CONFIG") # it may hold a password
  if [ -d "$SECURE" ]; then secure_config; else plain_config; fi >>"$CONFIG"
  cat >>"$CONFIG" <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$CONTROLLER_PORT
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
  [ -z "${EXTRA_PROPERTIES:-}" ] || cat "$EXTRA_PROPERTIES" >>"$CONFIG"
  [ -f "$NODE/data/meta.properties" ] && return 0
  local cluster
  { cluster=$(run_java kafka.tools.StorageTool random-uuid) &&
    run_java kafka.tools.StorageTool format --standalone -t "$cluster" -c "$CONFIG"; } >>"$NODE/log" 2>&1 || {
    tail -n 20 "$NODE/log" >&2
    fail "cannot format $NODE/data; the whole log is $NODE/log"
  }
}

start() {
  local pid word secure=
  for word in "$@"; do
    case $word in
      --fresh) forget ;;
      --secure) secure=1 ;;
      *) fail "start knows --fresh and --secure only, not '$word'" ;;
    esac
  done
  if [ -n "$secure" ] && [ -d "$NODE/data" ] && [ ! -d "$SECURE" ]; then
    fail "the node on $PORT was made without security: start it with --fresh, or choose another PORT"
  fi
  if pid=$(node_pid); then
    say "already running on 127.0.0.1:$PORT (pid $pid)"
    return 0
  fi
  check_java
  fetch
  local port
  [ -z "$secure" ] || make_secrets
  local -a ports=("$PORT" "$CONTROLLER_PORT") allowed=()
  if [ -d "$SECURE" ]; then
    ports+=("$TLS_PORT")
    allowed=("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://$SECURE/jwks.json")
  fi
  for port in "${ports[@]}"; do
    ! listens "$port" || fail "port $port is taken by another process: stop it, or set PORT, CONTROLLER_PORT and TLS_PORT"
  done
  write_config
  nohup java "${JAVA_OPTS[@]}" "${allowed[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$JARS/*" \
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
  start) start "${@:2}" ;;
  stop) stop ;;
  forget) forget ;;
  status) status ;;
  *) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
