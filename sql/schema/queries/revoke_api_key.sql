-- Grain: one row, the key as it is revoked now; none where there is no such key.
update evergreen.api_keys
set revoked_at = coalesce(revoked_at, clock_timestamp())
where key_id = %(key_id)s
returning *
