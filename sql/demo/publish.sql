-- The last step of the loading transaction: the new schemas take the place of the old ones at once.
drop schema if exists telecom cascade;
drop schema if exists demo_oracle cascade;
alter schema telecom_incoming rename to telecom;
alter schema demo_oracle_incoming rename to demo_oracle;
-- by this mark the next load knows that it may replace them
comment on schema telecom is 'evergreen demo data';
comment on schema demo_oracle is 'evergreen demo data';

do $$
begin
    if exists (select from pg_roles where rolname = 'reader') then
        grant usage on schema telecom to reader;
        grant select on all tables in schema telecom to reader;
    end if;
end
$$;
