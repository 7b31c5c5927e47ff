-- The invented company's tables, made in whatever schema comes first in search_path.
-- All are append-only. recorded_at is the day on which the company knew a row; loaded_at is when this copy of it was
-- written, means nothing, and no query may read it.

-- one row a customer
create table customers (
    customer_id bigint not null,
    joined_on date not null,
    birth_date date,
    gender text,
    region text not null,
    channel text,
    opening_charges numeric(12, 2) not null, -- billed before this history begins
    opening_tickets integer not null, -- opened before it
    recorded_at date not null,
    loaded_at timestamptz not null default now()
);

-- one row a customer and change of what they have: the first subscription, another plan, contract or price
create table subscriptions (
    subscription_id bigint not null,
    customer_id bigint not null,
    plan text not null,
    contract_type text not null,
    contract_ends_on date,
    monthly_charge numeric(10, 2) not null,
    discount_pct integer not null,
    allowance_gb integer not null, -- a month, of the plan
    payment_method text,
    valid_from date not null,
    recorded_at date not null,
    loaded_at timestamptz not null default now()
);

-- one row a customer who left
create table terminations (
    customer_id bigint not null,
    terminated_on date not null,
    reason text,
    recorded_at date not null,
    loaded_at timestamptz not null default now()
);

-- one row a customer and month, known when its payment was tried in the month after; some were sent twice
create table invoices (
    invoice_id bigint not null,
    customer_id bigint not null,
    period date not null, -- first day of the month
    amount numeric(10, 2) not null,
    payment_failed boolean not null,
    recorded_at date not null,
    loaded_at timestamptz not null default now()
);

-- one row a ticket and status: opened, and later resolved
create table support_tickets (
    ticket_id bigint not null,
    customer_id bigint not null,
    topic text,
    status text not null,
    happened_on date not null,
    recorded_at date not null,
    loaded_at timestamptz not null default now()
);

-- one row a customer and month, where a reading came
create table monthly_usage (
    customer_id bigint not null,
    month date not null, -- first day of the month
    gigabytes numeric(14, 3) not null,
    call_minutes integer,
    dropped_calls integer not null,
    recorded_at date not null,
    loaded_at timestamptz not null default now()
);

-- one row a stretch of months in which people found a feed to be wrong, known from the day on which they declared it.
-- Only of monthly_usage: sql/churn can do without a month of it. It adds the other feeds up from their first row, or
-- takes the newest one, so an error there has to be corrected and cannot be passed over.
create table feed_incidents (
    feed text not null check (feed = 'monthly_usage'),
    first_month date not null, -- first day of the month
    last_month date not null, -- likewise; this month was wrong, too
    note text,
    recorded_at date not null,
    check (first_month <= last_month)
);

-- one row a feed: all that it recorded up to that day has arrived
create table loads (
    feed text primary key,
    complete_through date not null
);
