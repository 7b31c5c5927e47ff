-- The answer key, in a schema of its own that the reader is never granted: one row a customer and month end, with the
-- true probability of leaving within the 30 days after it.
create table churn_probability (
    customer_id bigint not null,
    snapshot_date date not null,
    probability double precision not null
);
