-- What was scored, and what came true. Both are append-only; a run's row is the one thing here that moves.

-- Grain: one row a scoring run: a version's scores of one day, and how far they have got. It moves in the transaction that
-- writes the rows it counts, so after a kill it says exactly what is there. A later run of the same version and day, which
-- somebody asked for, has a key of its own. Only a complete run is seen by those who read scores.
create table evergreen.scoring_runs (
    model text collate "C" not null,
    run_key text collate "C" not null,
    sequence bigint generated always as identity unique,
    version integer not null,
    as_of date not null,
    source text not null check (source in ('batch', 'api')),
    as_champion boolean not null,    -- whether the version was the champion when the run began
    horizon_days integer not null check (horizon_days >= 0),    -- what the version predicts, and ...
    embargo_days integer not null check (embargo_days >= 0),    -- ... how much later that is surely known
    query_sha256 text,    -- of the SQL that gives the rows: a run is not continued by another
    state text not null default 'running' check (state in ('running', 'complete', 'superseded')),
    row_count bigint not null default 0 check (row_count >= 0),
    last_entity text,    -- in the source's order of entities
    begun_at timestamptz not null default clock_timestamp(),
    moved_at timestamptz not null default clock_timestamp(),
    primary key (model, run_key),
    foreign key (model, version) references evergreen.model_versions (model, version)
);

create index scoring_runs_by_day on evergreen.scoring_runs (model, as_of, version);

-- Grain: one row an entity and run. A partition a month of as_of, which is why as_of is in the key; a run has one as_of, so
-- that makes the key no wider in meaning. Texts of the key compare by bytes: a key of two million rows is built from them.
create table evergreen.predictions (
    prediction_id uuid not null,
    model text collate "C" not null,
    version integer not null,
    run_key text collate "C" not null,
    entity text collate "C" not null,
    as_of date not null,
    score double precision not null check (score >= 0 and score <= 1),    -- NaN is greater than any number
    decision boolean not null,    -- score at or above the version's threshold
    source text not null check (source in ('batch', 'api')),
    scored_at timestamptz not null default now(),
    features jsonb,    -- what the API was asked; null for batch runs, whose rows the source can give again
    primary key (model, run_key, entity, as_of)
) partition by range (as_of);

-- Grain: one row a label of an entity and day that was not known, or known otherwise, before. Late and corrected labels are
-- new rows: known_at is the day on which the company knew, sequence the order in which we heard of it.
create table evergreen.outcomes (
    model text collate "C" not null,
    entity text collate "C" not null,
    as_of date not null,
    horizon_days integer not null check (horizon_days >= 0),    -- "leaves within 30 days" and "within 90" are two labels
    label smallint not null check (label in (0, 1)),
    known_at date not null,
    sequence bigint generated always as identity unique,
    recorded_at timestamptz not null default now(),
    primary key (model, as_of, horizon_days, entity, known_at, sequence)
);

-- Grain: one row an entity, day and horizon: the label as it is known now.
create view evergreen.current_outcomes as
select distinct on (model, as_of, horizon_days, entity)
    model, entity, as_of, horizon_days, label, known_at, recorded_at
from evergreen.outcomes
order by model, as_of, horizon_days, entity, known_at desc, sequence desc;

-- Grain: one row a model that has scores: the run that those who read scores are to read. Of the newest day; of several runs
-- of that day the one of today's champion, where there is one, and then the newest. Who tries another version out changes
-- nothing here.
create view evergreen.latest_runs as
select distinct on (runs.model) runs.*
from evergreen.scoring_runs as runs
left join evergreen.champions on champions.model = runs.model
where runs.state = 'complete' and runs.source = 'batch' and runs.as_champion
order by runs.model, runs.as_of desc, (runs.version = champions.version) desc nulls last, runs.sequence desc;

-- Grain: one row a model and entity: the newest score of everyone in the newest complete run. Who is no longer scored, because
-- they have left, is not in it, and reading it takes as long in the tenth year as in the first.
create view evergreen.latest_scores as
select
    predictions.model, predictions.entity, predictions.as_of, predictions.score, predictions.decision, predictions.version,
    predictions.scored_at, predictions.prediction_id
from evergreen.latest_runs as runs
inner join evergreen.predictions
    on predictions.model = runs.model and predictions.run_key = runs.run_key and predictions.as_of = runs.as_of;

-- Grain: one row a run whose predictions are judged: of several batch runs of a version and day the newest complete one, and
-- every run of the API, whose entities asked at other times. final_on is when a label that nobody has heard of means 0.
create view evergreen.judged_runs as
select distinct on (model, version, as_of, case when source = 'api' then run_key end)
    model, run_key, version, as_of, source, horizon_days, embargo_days, row_count,
    as_of + horizon_days + embargo_days as final_on
from evergreen.scoring_runs
where state = 'complete' or source = 'api'
order by model, version, as_of, case when source = 'api' then run_key end, sequence desc;

create function evergreen.refuse_row_change() returns trigger language plpgsql as $$
begin
    raise exception 'evergreen.% is append-only: % is refused', tg_table_name, lower(tg_op)
        using hint = 'Score again by a new run, and correct a label by a new row.';
end
$$;

-- A row trigger comes to every partition, with whatever name it is addressed; one of the statement would not.
create trigger append_only before update or delete on evergreen.predictions
    for each row execute function evergreen.refuse_row_change();

create trigger not_emptied before truncate on evergreen.predictions
    for each statement execute function evergreen.refuse_row_change();

create trigger append_only before update or delete or truncate on evergreen.outcomes
    for each statement execute function evergreen.refuse_row_change();

-- The month's partition of predictions, made when it is missing; its name. Of several that ask at once one makes it and the
-- others wait for that. Attaching locks out nobody who reads or writes, which creating in place would. It runs as the owner:
-- who may write predictions need not be allowed to make tables.
create function evergreen.predictions_partition(day date) returns text language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
    first_day constant date := date_trunc('month', day::timestamp)::date;
    partition constant text := 'predictions_' || to_char(first_day, 'YYYY_MM');
begin
    -- pg_class and not to_regclass, whose cache may still say no after the wait
    if not exists (select from pg_class where relname = partition and relnamespace = 'evergreen'::regnamespace) then
        perform pg_advisory_xact_lock(hashtextextended('evergreen/partition', 0));
        if not exists (select from pg_class where relname = partition and relnamespace = 'evergreen'::regnamespace) then
            execute format('create table evergreen.%I (like evergreen.predictions including all)', partition);
            execute format(
                'create trigger not_emptied before truncate on evergreen.%I '
                'for each statement execute function evergreen.refuse_row_change()', partition
            );
            execute format(
                'alter table evergreen.predictions attach partition evergreen.%I for values from (%L) to (%L)',
                partition, first_day, (first_day + interval '1 month')::date
            );
        end if;
    end if;
    return partition;
end
$$;

revoke execute on function evergreen.predictions_partition (date) from public;
