-- Grain: one row a reservation, as it was on the day it was made; snapshot_date is the end of that month.
--
-- The table has no id, and 32,000 of its rows repeat another: the rooms of one reservation are rows of their own. So rows
-- that are alike in all that was known at booking are one reservation with several rooms. Groups (segment Groups, or a
-- customer type other than Transient) book rooms of several kinds at once, which stand and fall together: for them, rows
-- of one agent, day, stay and segment are one. The id is a hash of what makes them one, so no two sides of a split hold
-- parts of a reservation. It counts as cancelled when at least half of its rooms were.
--
-- Whether a booking is cancelled is surely known once its arrival has passed, and cancellations are known sooner than
-- arrivals. Taking every booking whose outcome is known would therefore fill the newest months with cancellations and
-- with bookings at short notice. So a month counts only once all of its bookings up to horizon_days ahead are due, and
-- bookings further ahead are left out of every month. With all windows at 0: the bookings made on as_of, for scoring, as far
-- ahead as training looks: of those further ahead no model has learnt, and no label would come in time to judge it.
--
-- Not read, because they are settled after the booking (Antonio, de Almeida and Nunes 2019, table 1, and SOURCE.md):
--   reservation_status, reservation_status_date    they are the outcome
--   assigned_room_type, booking_changes            up to check-in or cancellation
--   deposit_type                                   from payments until arrival or cancellation; 99% of Non Refund cancelled
--   adr                                            from all lodging transactions, so also from those of the stay
--   required_car_parking_spaces                    not one of the 7,416 bookings with a space was cancelled
--   total_of_special_requests                      collected until arrival; who cancels early has made fewer
--   days_in_waiting_list                           known at confirmation, days after the booking
--   country                                        corrected at check-in: PRT stands for unknown until then

with pin as (
    select
        cast(:as_of as date) as as_of,
        cast(:as_of as date) - cast(:embargo_days as int) as newest_arrival,
        -- scoring has no window to read it from: there it is params.yaml's horizon_days, as a test holds
        case when is_scoring then 120 else cast(:horizon_days as int) end as horizon_days,
        date_trunc('month', (cast(:as_of as date) - cast(:history_days as int))::timestamp)::date as first_day,
        date_trunc(
            'month',
            (cast(:as_of as date) - cast(:horizon_days as int) - cast(:embargo_days as int) + 1)::timestamp
        )::date as day_after,
        is_scoring
    from (
        select cast(:history_days as int) + cast(:horizon_days as int) + cast(:embargo_days as int) = 0 as is_scoring
    ) as windows
),

arrivals as not materialized (
    -- make_date and not to_date, which depends on the locale: this one can be indexed (indexes.sql)
    select
        *,
        make_date(
            arrival_date_year::int,
            strpos('  JanFebMarAprMayJunJulAugSepOctNovDec', left(arrival_date_month, 3)) / 3,
            arrival_date_day_of_month::int
        ) as arrives_on
    from hotel.bookings
),

bookings as (
    select
        *,
        -- groups are one reservation whatever their rooms are
        case
            when customer_type = 'Transient' and market_segment is distinct from 'Groups'
                then json_build_array(
                    adults, children, babies, meal, reserved_room_type, is_repeated_guest, previous_cancellations,
                    previous_bookings_not_canceled
                )::text
        end as room_content
    from (
        select
            hotel,
            arrives_on - lead_time::int as booked_on,
            arrives_on,
            lead_time::int as lead_time,
            stays_in_weekend_nights as weekend_nights,
            stays_in_week_nights as week_nights,
            adults,
            coalesce(children, 0) as children,
            babies,
            -- Undefined and SC both mean no meals
            case meal when 'Undefined' then 'SC' else meal end as meal,
            nullif(market_segment, 'Undefined') as market_segment,
            nullif(distribution_channel, 'Undefined') as distribution_channel,
            coalesce(agent::text, 'none') as agent,
            company,
            customer_type,
            is_repeated_guest,
            previous_cancellations,
            previous_bookings_not_canceled,
            reserved_room_type,
            is_canceled
        from arrivals
    ) as cleaned
    cross join pin
    where
        arrives_on >= first_day - 90 -- what the agents of the first day had due
        and arrives_on <= case when is_scoring then as_of + horizon_days else newest_arrival end
        and (arrives_on <= newest_arrival or booked_on = as_of)
),

agent_days as (
    select agent, day, sum(due) as due, sum(cancelled) as cancelled
    from (
        select agent, arrives_on as day, 1 as due, is_canceled as cancelled
        from bookings
        union all
        select agent, booked_on, 0, 0
        from bookings
    ) as events
    group by agent, day
),

agent_history as (
    -- bookings that were due in the 90 days before: the outcome of each of them is known by then
    select
        agent,
        day,
        coalesce(sum(due) over past, 0) as due_90d,
        coalesce(sum(cancelled) over past, 0) as cancelled_90d
    from agent_days
    window past as (
        partition by agent
        order by day range between interval '90 days' preceding and interval '1 day' preceding
    )
),

in_question as (
    select
        *,
        case
            when is_scoring then as_of
            else (date_trunc('month', booked_on::timestamp) + interval '1 month')::date - 1
        end as snapshot_date
    from bookings
    where
        case
            when is_scoring then booked_on = as_of
            else
                booked_on >= first_day
                and booked_on < day_after
        end
        and lead_time <= horizon_days
        -- of bookings made before the table begins only those far ahead are in it
        and booked_on >= (select min(arrives_on) from arrivals)
),

reservations as (
    select
        md5(
            json_build_array(
                hotel, booked_on, arrives_on, weekend_nights, week_nights, market_segment, distribution_channel, agent,
                company, customer_type, room_content
            )::text
        ) as reservation_id,
        snapshot_date,
        (avg(is_canceled) >= 0.5)::int as is_canceled,
        hotel,
        booked_on,
        arrives_on,
        lead_time,
        weekend_nights,
        week_nights,
        market_segment,
        distribution_channel,
        agent,
        company,
        customer_type,
        count(*) as rooms,
        count(distinct reserved_room_type) as room_types,
        mode() within group (order by reserved_room_type) as room_type,
        mode() within group (order by meal) as meal,
        avg(adults) as adults,
        avg(children + babies) as children,
        max(is_repeated_guest) as is_repeated_guest,
        max(previous_cancellations) as previous_cancellations,
        max(previous_bookings_not_canceled) as previous_stays
    from in_question
    group by
        hotel, snapshot_date, booked_on, arrives_on, lead_time, weekend_nights, week_nights, market_segment,
        distribution_channel, agent, company, customer_type, room_content
)

select
    reservations.reservation_id,
    reservations.snapshot_date,
    reservations.is_canceled,
    reservations.hotel,
    reservations.lead_time,
    extract(month from reservations.arrives_on)::int as arrival_month,
    extract(isodow from reservations.arrives_on)::int as arrival_weekday,
    extract(isodow from reservations.booked_on)::int as booking_weekday,
    reservations.weekend_nights::int as weekend_nights,
    reservations.week_nights::int as week_nights,
    reservations.rooms::int as rooms,
    reservations.room_types::int as room_types,
    reservations.adults::float8 as adults_per_room,
    reservations.children::float8 as children_per_room,
    (reservations.children > 0) as with_children,
    reservations.room_type,
    reservations.meal,
    reservations.market_segment,
    reservations.distribution_channel,
    reservations.customer_type,
    reservations.agent,
    (reservations.company is not null) as by_company,
    (reservations.is_repeated_guest = 1) as is_repeated_guest,
    reservations.previous_cancellations::int as previous_cancellations,
    reservations.previous_stays::int as previous_stays,
    agent_history.due_90d::int as agent_due_90d,
    (agent_history.cancelled_90d / nullif(agent_history.due_90d, 0))::float8 as agent_cancelled_90d
from reservations
inner join agent_history
    on agent_history.agent = reservations.agent
    and agent_history.day = reservations.booked_on
order by reservation_id, snapshot_date
