#!/usr/bin/env bash
# certificates.sh FOLDER NAME...
#
# Makes an authority (ca.pem, ca.key) in FOLDER unless it is there, and for each NAME a certificate
# signed by it: NAME.pem, NAME.key, and NAME.both.pem with both, as Kafka's PEM key stores want it.
# Every certificate is good for a client and, on this machine, for a server. For tests only: the
# keys have no password and lie beside each other; only their owner may read them.
#
# Settings, from the environment:
#   HOSTS (localhost, 127.0.0.1): what the certificates are for, as openssl writes it
#   NOT_BEFORE, NOT_AFTER: YYYYMMDDHHMMSSZ; default from now on, for 30 days
set -euo pipefail
umask 077

[ $# -ge 2 ] || { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
command -v openssl >/dev/null || { echo "certificates.sh: openssl is missing" >&2; exit 1; }
HOSTS=${HOSTS:-DNS:localhost,IP:127.0.0.1}
mkdir -p "$1"
cd "$1"
shift

quietly() { # openssl talks on success too: only a failure is worth reading
  local said
  said=$(openssl "$@" 2>&1) || { echo "$said" >&2; exit 1; }
}

if [ ! -f ca.pem ]; then
  quietly req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=spanloom test authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout ca.key -out ca.pem
fi
for name in "$@"; do
  request=$(mktemp -d request.XXXXXX)
  : >"$request/index"
  # Only `openssl ca` can date a certificate into the past, in every version.
  cat >"$request/ca.cnf" <<CONF
[ca]
default_ca = own
[own]
new_certs_dir = $request
database = $request/index
rand_serial = yes
default_md = sha256
default_days = 30
policy = any
unique_subject = no
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
keyUsage = digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = $HOSTS
CONF
  quietly req -new -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$name.key" \
    -out "$request/$name.csr"
  quietly ca -batch -notext -config "$request/ca.cnf" -cert ca.pem -keyfile ca.key \
    ${NOT_BEFORE:+-startdate "$NOT_BEFORE"} ${NOT_AFTER:+-enddate "$NOT_AFTER"} \
    -in "$request/$name.csr" -out "$name.pem"
  cat "$name.key" "$name.pem" >"$name.both.pem"
  rm -rf "$request"
done
