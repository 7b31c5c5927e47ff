-- To enter the database, where it is ours to say so; labels arrive in a temporary table, which only watching makes.
do $$
begin
    if pg_has_role((select datdba from pg_database where datname = current_database()), 'usage') then
        execute format('grant connect on database %I to {role}', current_database());
        if {watches} then
            execute format('grant temporary on database %I to {role}', current_database());
        end if;
    end if;
end
$$;
