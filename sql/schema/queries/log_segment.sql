-- Grain: one row, how much of a file of the log has arrived; held until the end of the transaction.
insert into evergreen.log_segments (model, segment)
values (%(model)s, %(segment)s)
on conflict (model, segment) do update set updated_at = clock_timestamp()
returning sent_bytes
