-- Grain: one row, the new key.
insert into evergreen.api_keys (key_id, sha256, name, scopes)
values (%(key_id)s, %(sha256)s, %(name)s, %(scopes)s)
returning *
