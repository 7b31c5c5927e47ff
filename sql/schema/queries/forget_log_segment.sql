-- Grain: one row, a file of the log that has arrived whole and is gone: nobody asks again how far it was sent.
delete from evergreen.log_segments
where model = %(model)s and segment = %(segment)s
returning sent_bytes
