-- The API: who may ask it, and how much of its log has arrived in evergreen.predictions.

-- Grain: one row a key. Of the key itself there is only its SHA-256: 256 random bits need no slow hash.
create table evergreen.api_keys (
    key_id text primary key check (key_id ~ '^[0-9a-f]{8}$'),
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    name text not null,
    scopes text[] not null check (scopes <@ array['predict', 'admin'] and scopes <> '{}'),
    created_at timestamptz not null default clock_timestamp(),
    revoked_at timestamptz
);

-- Grain: one row a file of an API's log: how many of its bytes have arrived. It moves in the transaction that writes their rows,
-- so after a kill it says exactly what is there, and nothing arrives twice.
create table evergreen.log_segments (
    model text collate "C" not null,
    segment text collate "C" not null,
    sent_bytes bigint not null default 0 check (sent_bytes >= 0),
    moved_at timestamptz not null default clock_timestamp(),
    primary key (model, segment)
);

-- Those of some entities that are in a run of the API already. It runs as the owner: who writes predictions may not read them.
create function evergreen.entities_in_run(of_model text, of_run_key text, of_day date, asked text[]) returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select scored.entity
    from evergreen.predictions as scored
    where
        scored.model = of_model and scored.run_key = of_run_key and scored.as_of = of_day and scored.entity = any(asked)
        and scored.source = 'api'
$$;

revoke execute on function evergreen.entities_in_run (text, text, date, text[]) from public;
