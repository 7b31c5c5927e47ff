-- Grain: one row: whether the role that asks could do more than its rights say, and whether it can do its work. Beside our own
-- database it has business in none.
select
    rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as is_mighty,
    exists (
        select
        from pg_class
        where relnamespace = to_regnamespace('evergreen') and pg_has_role(relowner, 'member')
    ) as owns_tables,
    coalesce(has_schema_privilege('evergreen', 'usage'), false) as may_enter,
    has_database_privilege(current_database(), 'temporary') as may_stage,
    array(
        select datname::text
        from pg_database
        where datname in ('mlflow', 'prefect') and has_database_privilege(datname, 'connect')
        order by datname
    ) as other_databases
from pg_roles
where rolname = current_user
