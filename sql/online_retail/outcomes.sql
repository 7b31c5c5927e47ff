-- Grain: one row per customer active on a day of :score_days, once :horizon_days and :embargo_days have passed by :as_of.
--
-- The label is that of training_set.sql: lapsed is who bought nothing in the :horizon_days after the day. Who is active is
-- decided by the 90 days up to it, as there. That nobody came is known when the horizon is over, and so is who did.

with score_days as (
    select score_day, score_day + cast(:horizon_days as int) as ends_on
    from unnest(cast(:score_days as date [])) as score_day
),

purchases as (
    select "CustomerID" as customer_id, "InvoiceDate"::date as day
    from retail.invoice_lines
    where
        "CustomerID" is not null
        and "InvoiceDate" < cast(:as_of as date) + 1
        and "StockCode" ~ '^[0-9]{5}'
        and "UnitPrice" > 0
        and "Quantity" > 0
),

activity as (
    select
        purchases.customer_id,
        score_days.score_day,
        score_days.ends_on + cast(:embargo_days as int) as final_on,
        bool_or(purchases.day <= score_days.score_day) as was_active,
        bool_or(purchases.day > score_days.score_day) as came_back
    from score_days
    inner join purchases
        on purchases.day > score_days.score_day - 90
        and purchases.day <= score_days.ends_on
    group by purchases.customer_id, score_days.score_day, score_days.ends_on
)

select
    customer_id,
    score_day as snapshot_date,
    (not came_back)::int as lapsed,
    final_on as available_at
from activity
where was_active and final_on <= cast(:as_of as date)
