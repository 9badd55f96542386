#!/bin/sh
# Make the certificates of the tests anew, with the `openssl` command. They last from 2020 to 2120 and prove nothing to anybody else.
#   ca.pem      signed server.pem (localhost, 127.0.0.1), elsewhere.pem (another host's name) and client.pem
#   other.pem   an authority that signed none of them
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cat >"$work/configuration" <<END
[ca]
default_ca = us
[us]
database = $work/index
new_certs_dir = $work
serial = $work/serial
default_md = sha256
default_startdate = 20200101000000Z
default_enddate = 21200101000000Z
policy = any
[any]
commonName = supplied
END
: >"$work/index"
echo 01 >"$work/serial"

signed() { # NAME KEY_DIRECTORY EXTENSIONS HOW...
    name=$1 key=$2/$1.key extensions=$3
    shift 3
    openssl ecparam -name prime256v1 -genkey -noout -out "$key"
    openssl req -new -key "$key" -subj "/CN=netledger tests $name" -out "$work/request"
    printf '%s\n' "$extensions" >"$work/extensions"
    openssl ca -batch -notext -config "$work/configuration" -extfile "$work/extensions" -in "$work/request" -out "$name.pem" "$@"
}

for authority in ca other; do
    signed $authority "$work" "basicConstraints=critical,CA:TRUE" -selfsign -keyfile "$work/$authority.key"
done
for certificate in "server subjectAltName=DNS:localhost,IP:127.0.0.1" \
    "elsewhere subjectAltName=DNS:plugins.example" "client extendedKeyUsage=clientAuth"; do
    signed "${certificate%% *}" . "${certificate#* }" -cert ca.pem -keyfile "$work/ca.key"
done
