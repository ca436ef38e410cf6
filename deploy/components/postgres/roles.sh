#!/usr/bin/env bash
# Creates the login role of each service in a PostgreSQL cluster, or gives an existing one its current password.
#
# The migrations grant each role what it may touch, but they are in version control and so hold no password: that part is here. Run it before `northstar migrate`, as
# a role that may create roles, and again to rotate a password. The connection comes from the usual libpq variables (PGHOST, PGUSER, PGPASSWORD, PGDATABASE, ...).
# Passwords are read from the folder $ROLE_PASSWORDS (default /run/secrets), one file a role, named <service>_password.
#
# The postgres image runs it on an empty data folder (compose.yaml and components/postgres mount it in /docker-entrypoint-initdb.d).
set -euo pipefail

passwords=${ROLE_PASSWORDS:-/run/secrets}
export PGUSER=${PGUSER:-${POSTGRES_USER:-postgres}} PGDATABASE=${PGDATABASE:-${POSTGRES_DB:-northstar}}

for service in ingestion metrics experiments approvals automations; do
    file=$passwords/${service}_password
    if [ ! -s "$file" ]; then
        echo "roles.sh: no password for role northstar_$service: $file is missing or empty; write one there and run again" >&2
        exit 64
    fi
    # Through the environment, not the command line, where other processes could read it.
    ROLE=northstar_$service ROLE_PASSWORD=$(<"$file") psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'SQL'
\getenv role ROLE
\getenv role_password ROLE_PASSWORD
select format('create role %I', :'role') where not exists (select from pg_roles where rolname = :'role') \gexec
alter role :"role" with login nosuperuser nocreatedb nocreaterole password :'role_password';
SQL
    echo "roles.sh: role northstar_$service can log in"
done
