-- The newest day up to which every booking's outcome is in the table: the last arrival. One row, one date.
select
    max(
        to_date(concat_ws(' ', arrival_date_year, arrival_date_month, arrival_date_day_of_month), 'YYYY Month DD')
    ) as watermark
from hotel.bookings
