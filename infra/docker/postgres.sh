#!/bin/sh
# Run once by the image of postgres, in an empty data folder: a role for each kind of work, and four databases.
set -eu
psql --set ON_ERROR_STOP=1 --quiet --username postgres \
    --set evergreen="$EVERGREEN_PASSWORD" --set promoter="$PROMOTER_PASSWORD" --set scorer="$SCORER_PASSWORD" \
    --set watcher="$WATCHER_PASSWORD" --set company="$COMPANY_PASSWORD" --set reader="$READER_PASSWORD" <<'SQL'
create role evergreen login password :'evergreen';
create role promoter login password :'promoter';
create role scorer login password :'scorer';
create role watcher login password :'watcher';
create role company login password :'company';
create role reader login password :'reader';
create database evergreen owner evergreen;
create database mlflow owner evergreen;
create database prefect owner evergreen;
create database company owner company;
revoke connect, temporary on database evergreen, mlflow, prefect, company, postgres, template1 from public;
grant connect on database company to reader;
\connect company
revoke create on schema public from public;
grant usage on schema public to reader;
alter default privileges for role company grant select on tables to reader;
alter default privileges for role company grant usage on schemas to reader;
SQL
