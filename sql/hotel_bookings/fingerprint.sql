-- One row, one text: a hash of the bookings that training_set.sql reads at :as_of, in the columns that it reads. Bookings
-- still to arrive are not among them, so the pin holds while they change. Neither their order nor their place counts.

with bookings as (
    select
        md5(
            json_build_array(
                hotel, is_canceled, lead_time, arrives_on, stays_in_weekend_nights, stays_in_week_nights, adults, children,
                babies, meal, market_segment, distribution_channel, is_repeated_guest, previous_cancellations,
                previous_bookings_not_canceled, reserved_room_type, agent, company, customer_type
            )::text
        ) as digest
    from
        hotel.bookings,
        lateral (
            select to_date(concat_ws(' ', arrival_date_year, arrival_date_month, arrival_date_day_of_month), 'YYYY Month DD')
        ) as arrival (arrives_on)
    where arrives_on <= cast(:as_of as date) - cast(:embargo_days as int)
)

select
    md5(
        concat_ws(
            ' ',
            count(*),
            sum(('x' || substr(digest, 1, 15))::bit(60)::bigint::numeric),
            sum(('x' || substr(digest, 16, 15))::bit(60)::bigint::numeric)
        )
    ) as fingerprint
from bookings
