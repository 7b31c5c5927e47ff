-- Grain: one row a reservation made on a day of :score_days, once it is settled by :as_of.
--
-- Reservation and label are those of training_set.sql: the same rooms make one, and it counts as cancelled when at least half
-- of them were. available_at is the day on which the last of its rooms was settled: a cancellation on the day it came, a no-show on
-- the day of arrival, a stay at check-out. So a stay that begins at the end of the horizon is known some days after it, as a
-- late label. Bookings further ahead than :horizon_days have no outcome; nor are they scored.

with rooms as (
    select
        hotel,
        arrives_on - lead_time::int as booked_on,
        arrives_on,
        lead_time::int as lead_time,
        stays_in_weekend_nights as weekend_nights,
        stays_in_week_nights as week_nights,
        nullif(market_segment, 'Undefined') as market_segment,
        nullif(distribution_channel, 'Undefined') as distribution_channel,
        coalesce(agent::text, 'none') as agent,
        company,
        customer_type,
        case
            when customer_type = 'Transient' and nullif(market_segment, 'Undefined') is distinct from 'Groups'
                then json_build_array(
                    adults, coalesce(children, 0), babies, case meal when 'Undefined' then 'SC' else meal end,
                    reserved_room_type, is_repeated_guest, previous_cancellations, previous_bookings_not_canceled
                )::text
        end as room_content,
        is_canceled,
        reservation_status_date as settled_on
    from
        hotel.bookings,
        lateral (
            select
                to_date(concat_ws(' ', arrival_date_year, arrival_date_month, arrival_date_day_of_month), 'YYYY Month DD')
        ) as arrival (arrives_on)
    where
        arrives_on - lead_time::int = any(cast(:score_days as date []))
        and lead_time <= cast(:horizon_days as int)
),

reservations as (
    select
        md5(
            json_build_array(
                hotel, booked_on, arrives_on, weekend_nights, week_nights, market_segment, distribution_channel, agent,
                company, customer_type, room_content
            )::text
        ) as reservation_id,
        booked_on,
        (avg(is_canceled) >= 0.5)::int as is_canceled,
        max(settled_on) as settled_on
    from rooms
    group by
        hotel, booked_on, arrives_on, lead_time, weekend_nights, week_nights, market_segment, distribution_channel, agent,
        company, customer_type, room_content
)

select
    reservation_id,
    booked_on as snapshot_date,
    is_canceled,
    settled_on as available_at
from reservations
where settled_on <= cast(:as_of as date)
