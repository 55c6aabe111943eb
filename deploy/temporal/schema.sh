#!/bin/sh
# Brings the schema of Temporal's two databases to the version of this image. Safe to repeat: the first step leaves a
# schema that is newer than 0.0 as it is, and the second adds what it lacks.
set -eu

for name in temporal temporal_visibility; do
    case $name in
        temporal) versions=/etc/temporal/schema/postgresql/v12/temporal/versioned ;;
        *) versions=/etc/temporal/schema/postgresql/v12/visibility/versioned ;;
    esac
    set -- --plugin "$SQL_PLUGIN" --ep "$SQL_HOST" -p "$SQL_PORT" -u "$SQL_USER" --db "$name"
    temporal-sql-tool "$@" setup-schema -v 0.0
    temporal-sql-tool "$@" update-schema -d "$versions"
done
