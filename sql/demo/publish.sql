-- The last step of the loading transaction: the new schemas take the place of the old ones at once. Our own tables go by
-- name and nothing cascades: what somebody put into the schemas, or made of these tables, stops it.
drop table if exists
    telecom.customers, telecom.subscriptions, telecom.terminations, telecom.invoices, telecom.support_tickets,
    telecom.monthly_usage, telecom.feed_incidents, telecom.loads, demo_oracle.churn_probability;
drop schema if exists telecom;
drop schema if exists demo_oracle;
alter schema telecom_incoming rename to telecom;
alter schema demo_oracle_incoming rename to demo_oracle;
-- by this mark the next load knows that it may replace them
comment on schema telecom is 'python -m examples.telecom demo data';
comment on schema demo_oracle is 'python -m examples.telecom demo data';

do $$
begin
    if exists (select from pg_roles where rolname = 'reader') then
        grant usage on schema telecom to reader;
        grant select on all tables in schema telecom to reader;
    end if;
end
$$;
