-- Grain: one row per customer who could be scored on a day of :score_days, once that day's label is final by :as_of.
--
-- The label is that of training_set.sql: left within :horizon_days after the day. available_at is the day on which the company
-- knew: for who left, when that reached the books, for who stayed, when the horizon and the :embargo_days were over, since
-- before that somebody may have left whom the books still show. Who leaves that late, and is found out later still, has a 0
-- until then. Who had left before the day, as became known later, has no outcome.

with score_days as (
    select score_day, score_day + cast(:horizon_days as int) + cast(:embargo_days as int) as final_on
    from unnest(cast(:score_days as date [])) as score_day
),

customers as (
    select customer_id, joined_on, recorded_at
    from telecom.customers
),

subscriptions as (
    select customer_id, min(greatest(valid_from, recorded_at)) as known_from
    from telecom.subscriptions
    group by customer_id
),

terminations as (
    select distinct on (customer_id) customer_id, terminated_on, recorded_at
    from telecom.terminations
    where recorded_at <= cast(:as_of as date)
    order by customer_id, terminated_on, recorded_at
),

outcomes as (
    select
        customers.customer_id,
        score_days.score_day as snapshot_date,
        score_days.final_on,
        terminations.recorded_at as left_known_at,
        coalesce(terminations.terminated_on <= score_days.score_day + cast(:horizon_days as int), false) as churned
    from score_days
    inner join customers
        on score_days.score_day >= customers.recorded_at
        and score_days.score_day >= customers.joined_on
    inner join subscriptions
        on subscriptions.customer_id = customers.customer_id
        and subscriptions.known_from <= score_days.score_day
    left join terminations on terminations.customer_id = customers.customer_id
    where
        score_days.final_on <= cast(:as_of as date)
        and (terminations.terminated_on is null or terminations.terminated_on > score_days.score_day)
)

select
    customer_id,
    snapshot_date,
    churned::int as churned,
    case when churned then left_known_at else final_on end as available_at
from outcomes
