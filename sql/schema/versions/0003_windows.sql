-- What watching says of the windows, and what came of it. Append-only but for the end of a retraining.

-- Grain: one row a part of what was counted of a version and day: the histograms (monitoring/histograms.py) of the rows that one
-- transaction scored, or of a whole day that was only looked at (run_key quiet/...). The parts of a day add up to it.
create table evergreen.profiles (
    model text collate "C" not null,
    run_key text collate "C" not null,
    part bigint not null,    -- rows of the run before this part
    version integer not null,
    as_of date not null,
    row_count bigint not null check (row_count >= 0),
    histograms json not null,    -- json, not jsonb: the text is read back as it was written
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (model, run_key, part),
    foreign key (model, version) references evergreen.model_versions (model, version)
);

create index profiles_by_day on evergreen.profiles (model, version, as_of);

-- Grain: one row a verdict on a window. A window has one, unless somebody asked for it anew: the newest counts.
create table evergreen.verdicts (
    sequence bigint generated always as identity primary key,
    model text collate "C" not null,
    window_key text collate "C" not null,    -- 2025-03, 2025-W14 or 2025-03-31
    first_day date not null,
    last_day date not null check (last_day >= first_day),
    version integer not null,    -- whose scores the window holds
    judged_on date not null,    -- what was known on this day was judged
    row_count bigint not null,
    exceeded boolean not null,    -- the change was beyond the threshold, and ...
    alarmed boolean not null,    -- ... so was that of a window before: drift is confirmed
    action text not null check (action in ('nothing', 'note', 'review', 'retrain', 'block')),
    why text not null,
    held text,    -- why a retraining that was due was not asked for
    matured text,    -- the window whose labels were judged along with it
    findings jsonb not null,
    figures jsonb not null,
    recorded_at timestamptz not null default clock_timestamp(),
    foreign key (model, version) references evergreen.model_versions (model, version)
);

create index verdicts_by_window on evergreen.verdicts (model, window_key, sequence);

create view evergreen.current_verdicts as
select distinct on (model, window_key) *
from evergreen.verdicts
order by model, window_key, sequence desc;

-- Grain: one row a verdict that people and automations were told of. One that was kept and not told, since a process or a server
-- died, is told at the next window.
create table evergreen.notices (
    verdict bigint primary key references evergreen.verdicts (sequence),
    told_at timestamptz not null default clock_timestamp()
);

-- Grain: one row a window, version and judgement of its mature labels: a later one, since labels came late or were corrected,
-- is a new row, so that what was known when can be seen.
create table evergreen.performances (
    sequence bigint generated always as identity primary key,
    model text collate "C" not null,
    window_key text collate "C" not null,
    version integer not null,
    judged_on date not null,
    labelled bigint not null,    -- predictions whose labels are known
    positives bigint not null,
    late bigint not null,    -- of the labelled: known, or corrected, only after the label should have been final
    metrics jsonb not null,    -- metric -> point, low, high; null where there are too few labels
    groups jsonb,    -- monitoring/stages/audit.py's figures by protected group; null where there are too few labels
    recorded_at timestamptz not null default clock_timestamp(),
    foreign key (model, version) references evergreen.model_versions (model, version)
);

create index performances_by_window on evergreen.performances (model, window_key, version, sequence);

-- Grain: one row a retraining that began. A window asks for one at most: of a hundred events of one cause the first is taken.
create table evergreen.retrainings (
    sequence bigint generated always as identity primary key,
    model text collate "C" not null,
    run_id text not null,
    cause text collate "C",    -- key of the window whose verdict asked for it; null for a schedule or a person
    as_of date,
    begun_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    outcome text check (outcome in ('promoted', 'kept', 'failed')),
    version integer,
    unique (model, run_id),
    foreign key (model, version) references evergreen.model_versions (model, version)
);

create unique index retrainings_one_a_cause on evergreen.retrainings (model, cause) where cause is not null;

-- The newest scores, as before; and whether their window's feed was found to be broken.
create or replace view evergreen.latest_scores as
with runs as materialized (    -- one row a model: asked once, and not for every score
    select
        latest.*,
        exists (
            select
            from evergreen.current_verdicts as verdicts
            where
                verdicts.model = latest.model and verdicts.version = latest.version and verdicts.action = 'block'
                and latest.as_of between verdicts.first_day and verdicts.last_day
        ) as flagged
    from evergreen.latest_runs as latest
)

select
    predictions.model, predictions.entity, predictions.as_of, predictions.score, predictions.decision, predictions.version,
    predictions.scored_at, predictions.prediction_id, runs.flagged
from runs
inner join evergreen.predictions
    on predictions.model = runs.model and predictions.run_key = runs.run_key and predictions.as_of = runs.as_of;

do $$
declare
    kept text;
begin
    foreach kept in array array['profiles', 'verdicts', 'notices', 'performances'] loop
        execute format(
            'create trigger append_only before update or delete or truncate on evergreen.%I '
            'for each statement execute function evergreen.refuse_row_change()', kept
        );
    end loop;
end
$$;
