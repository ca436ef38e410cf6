#!/usr/bin/env bash
# Writes the secrets that compose.yaml mounts into deploy/secrets, each only if it is not there yet, so running it twice changes nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# Containers run as another user and so the files must be readable to all; the folder keeps them from everybody else on this machine.
mkdir -p -m 0700 secrets

# write NAME VALUE
write() {
    if [ ! -s "secrets/$1" ]; then
        printf '%s' "$2" >"secrets/$1"
        chmod 0644 "secrets/$1"
        echo "secrets.sh: wrote deploy/secrets/$1"
    fi
}

# 64 hexadecimal digits, 256 bits; they need no escaping in a URL.
random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

write postgres_password "$(random)"
write owner_database_url "postgres://northstar:$(<secrets/postgres_password)@postgres:5432/northstar"
for service in ingestion metrics experiments approvals automations; do
    write "${service}_password" "$(random)"
    write "${service}_database_url" "postgres://northstar_$service:$(<"secrets/${service}_password")@postgres:5432/northstar"
done
write suite_key "$(random)"
