-- One row, one text: a hash of all rows that training_set.sql can read at :as_of, in the columns that it reads.
--
-- Rows are hashed one by one and summed up, so their order, their physical place and the time of loading do not count,
-- and rows that became known later do not either. Rows are written as JSON, in which dates and NULLs look the same in
-- every session; md5, because Postgres keeps its quicker hashes for itself and may change them with a new version.

with known_rows as (
    select
        'customers' as source,
        json_build_array(
            customer_id, joined_on, birth_date, gender, region, channel, opening_charges, opening_tickets,
            recorded_at
        ) as content
    from telecom.customers
    where recorded_at <= cast(:as_of as date)
    union all
    select
        'subscriptions',
        json_build_array(
            subscription_id, customer_id, plan, contract_type, contract_ends_on, monthly_charge, discount_pct,
            allowance_gb, payment_method, valid_from, recorded_at
        )
    from telecom.subscriptions
    where recorded_at <= cast(:as_of as date)
    union all
    select 'terminations', json_build_array(customer_id, terminated_on, recorded_at)
    from telecom.terminations
    where recorded_at <= cast(:as_of as date)
    union all
    select 'invoices', json_build_array(invoice_id, customer_id, amount, payment_failed, recorded_at)
    from telecom.invoices
    where recorded_at <= cast(:as_of as date)
    union all
    select 'support_tickets', json_build_array(customer_id, status, happened_on, recorded_at)
    from telecom.support_tickets
    where recorded_at <= cast(:as_of as date)
    union all
    select
        'monthly_usage',
        json_build_array(customer_id, month, gigabytes, call_minutes, dropped_calls, recorded_at)
    from telecom.monthly_usage
    where recorded_at <= cast(:as_of as date)
    union all
    select 'feed_incidents', json_build_array(feed, first_month, last_month, recorded_at)
    from telecom.feed_incidents
    where recorded_at <= cast(:as_of as date)
),

sums as (
    select
        source,
        count(*) as row_count,
        sum(('x' || left(md5(content::text), 16))::bit(64)::bigint::numeric) as total
    from known_rows
    group by source
)

select coalesce(md5(string_agg(concat_ws(' ', source, row_count, total), ', ' order by source collate "C")), 'no rows')
    as fingerprint
from sums
