-- Grain: one row, the file as it stands now.
update evergreen.log_segments
set sent_bytes = %(sent_bytes)s, updated_at = clock_timestamp()
where model = %(model)s and segment = %(segment)s
returning sent_bytes
