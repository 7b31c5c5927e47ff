-- Grain: one row a key, revoked or not, oldest first.
select key_id, sha256, name, scopes, created_at, revoked_at
from evergreen.api_keys
order by created_at, key_id
