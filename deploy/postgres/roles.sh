#!/bin/sh
# Makes the roles and databases of the catalog and of Temporal, in a new cluster. Each role sees its own only.
set -eu

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv catalog_password CATALOG_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD

CREATE ROLE matview LOGIN PASSWORD :'catalog_password';
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';

CREATE DATABASE matview OWNER matview;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;

REVOKE CONNECT ON DATABASE postgres, matview, temporal, temporal_visibility FROM PUBLIC;
SQL
