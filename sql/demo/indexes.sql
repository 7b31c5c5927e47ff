-- Made after the rows are in. Look-ups of one customer, and of what became known since a day, are by index; the
-- training query reads whole tables.
alter table customers add primary key (customer_id);
create index on subscriptions (customer_id);
create index on terminations (customer_id);
create index on terminations (recorded_at);
create index on invoices (customer_id);
create index on support_tickets (customer_id);
create index on monthly_usage (customer_id);
