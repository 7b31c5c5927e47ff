-- What a role may do is given by sql/schema/rights/, every time the stack comes up. Here is what nobody may do by default, and
-- the one door through which rows that are append-only can go: the owner's.

-- Optuna makes its tables here; who trains may make tables, but no schema.
create schema if not exists optuna;

revoke all on schema evergreen from public;
revoke execute on function evergreen.refuse_change (), evergreen.refuse_row_change () from public;

-- Scores that were made at one time lie together, and their identifiers begin with that time (UUID version 7): so one is found
-- without an index that every row would have to be sorted into.
create index predictions_by_id on evergreen.predictions using brin (prediction_id);

-- Grain: one row an erasure of a person or of scores that nobody needs any more. It does not say who it was.
create table evergreen.erasures (
    sequence bigint generated always as identity primary key,
    model text collate "C" not null,
    kind text not null check (kind in ('person', 'collected')),
    actor text not null,
    predictions bigint not null,
    outcomes bigint not null,
    files integer not null,    -- cached results that held rows of the person
    versions integer[] not null,    -- that cannot be rebuilt from their snapshot any more
    erased_at timestamptz not null default clock_timestamp()
);

create trigger append_only before update or delete or truncate on evergreen.erasures
    for each statement execute function evergreen.refuse_change();

-- As before, with a door: scores and outcomes may be deleted within the functions below, which say that they erase, by who owns
-- the table. Anybody can say so; only the owner is believed.
create or replace function evergreen.refuse_row_change() returns trigger language plpgsql as $$
begin
    if
        tg_op = 'DELETE'
        and (tg_table_name = 'outcomes' or tg_table_name like 'predictions%')
        and current_setting('evergreen.erasing', true) = 'on'
        and pg_has_role((select relowner from pg_class where oid = tg_relid), 'usage')
    then
        return old;
    end if;
    raise exception 'evergreen.% is append-only: % is refused', tg_table_name, lower(tg_op)
        using hint = 'Score again by a new run, and correct a label by a new row.';
end
$$;

-- Take a person out of a model's scores and outcomes: how many rows of each that were. What runs counted stays.
create function evergreen.erase_entity(of_model text, who text, out predictions bigint, out outcomes bigint) language plpgsql as $$
begin
    perform set_config('evergreen.erasing', 'on', true);
    delete from evergreen.predictions as scored where scored.model = of_model and scored.entity = who;
    get diagnostics predictions = row_count;
    delete from evergreen.outcomes as known where known.model = of_model and known.entity = who;
    get diagnostics outcomes = row_count;
    update evergreen.scoring_runs as runs set last_entity = null
    where runs.model = of_model and runs.last_entity = who and runs.state <> 'running';
    perform set_config('evergreen.erasing', '', true);
end
$$;

-- Take away the scores of a run that nobody reads: given up, or replaced by a later run of its version and day. How many.
create function evergreen.erase_run(of_model text, of_run_key text) returns bigint language plpgsql as $$
declare
    erased bigint;
begin
    perform set_config('evergreen.erasing', 'on', true);
    delete from evergreen.predictions as scored
    using evergreen.replaced_runs as replaced
    where
        replaced.model = of_model and replaced.run_key = of_run_key
        and scored.model = replaced.model and scored.run_key = replaced.run_key and scored.as_of = replaced.as_of;
    get diagnostics erased = row_count;
    perform set_config('evergreen.erasing', '', true);
    return erased;
end
$$;

-- Grain: one row a batch run that was given up, or that a later complete one of its version and day has replaced.
create view evergreen.replaced_runs as
select runs.*
from evergreen.scoring_runs as runs
where
    runs.source = 'batch' and runs.state <> 'running'
    and (
        runs.state = 'superseded'
        or exists (
            select
            from evergreen.scoring_runs as later
            where
                later.model = runs.model and later.version = runs.version and later.as_of = runs.as_of
                and later.source = 'batch' and later.state = 'complete' and later.sequence > runs.sequence
        )
    );

revoke execute on function evergreen.erase_entity (text, text), evergreen.erase_run (text, text) from public;
