-- The decisions: which versions exist, and which of them was champion when, and why. Both tables are append-only.

-- Grain: one row a published version of a model. What it says of its files is what serving trusts.
create table evergreen.model_versions (
    model text not null,
    version integer not null check (version > 0),
    sequence bigint generated always as identity unique,    -- the order of things: clocks move, this does not
    bundle_sha256 text not null check (bundle_sha256 ~ '^[0-9a-f]{64}$'),
    onnx_sha256 text not null check (onnx_sha256 ~ '^[0-9a-f]{64}$'),
    manifest jsonb not null check (jsonb_typeof(manifest) = 'object' and manifest <> '{}'),    -- SHA-256 of every file
    data_manifest_sha256 text not null,
    params_sha256 text not null,
    git_commit text not null,
    git_ref text not null,
    mlflow_run_id text not null,
    mlflow_version integer not null,
    metrics jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (model, version),
    unique (model, bundle_sha256)
);

-- Grain: one row a decision about a version. `from_version -> to_version` is the move that was on the table, and `decision`
-- says whether it was made. Moves and refusals share a table because they are one history, in one sequence, and "why is v1
-- still champion?" is answered by the refusals. Only a move ends an epoch: epoch n is the reign that the n-th move began,
-- and a refusal carries the epoch of the champion it left in place (0: there was none).
create table evergreen.promotions (
    sequence bigint generated always as identity primary key,
    model text not null,
    epoch integer not null check (epoch >= 0),
    decision text not null check (decision in ('promoted', 'kept')),
    from_version integer,
    to_version integer not null,
    actor text not null,
    reason text not null,
    verdict jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    foreign key (model, from_version) references evergreen.model_versions (model, version),
    foreign key (model, to_version) references evergreen.model_versions (model, version),
    check (from_version <> to_version),
    check (decision = 'kept' or epoch > 0),
    check ((from_version is null) = (epoch = (decision = 'promoted')::integer))
);

-- The compare-and-swap: of two promoters that read one epoch, the second finds its place taken.
create unique index promotions_one_champion_an_epoch on evergreen.promotions (model, epoch) where decision = 'promoted';

-- Grain: one row a model that has a champion.
create view evergreen.champions as
select distinct on (model) model, epoch, to_version as version, created_at as since
from evergreen.promotions
where decision = 'promoted'
order by model, epoch desc;

create function evergreen.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'evergreen.% is append-only: % is refused', tg_table_name, lower(tg_op)
        using hint = 'Correct a decision by a new one: evergreen model promote VERSION --reason TEXT.';
end
$$;

create trigger append_only before update or delete or truncate on evergreen.model_versions
    for each statement execute function evergreen.refuse_change();

create trigger append_only before update or delete or truncate on evergreen.promotions
    for each statement execute function evergreen.refuse_change();
