-- Columns, values and keys are called by the field's words; CHANGELOG.md lists old and new. Rows stay what they are: what was
-- decided is not decided again, and sentences stay as they were written.

-- Checks that hold the old values.
do $$
declare
    bound record;
begin
    for bound in
        select conrelid::regclass as owner, conname
        from pg_constraint
        where
            contype = 'c' and connamespace = 'evergreen'::regnamespace
            and pg_get_constraintdef(oid) ~ '''(kept|nothing|block|person)'''
    loop
        execute format('alter table %s drop constraint %I', bound.owner, bound.conname);
    end loop;
end
$$;

alter table evergreen.promotions disable trigger append_only;
alter table evergreen.verdicts disable trigger append_only;
alter table evergreen.erasures disable trigger append_only;

-- A value of each key of an object under another key.
create function pg_temp.renamed(object jsonb, names jsonb) returns jsonb language sql immutable as $$
    select coalesce(jsonb_object_agg(coalesce(names ->> entry.key, entry.key), entry.value), '{}')
    from jsonb_each(object) as entry
$$;

-- Promotions.
drop index evergreen.promotions_one_champion_an_epoch;
alter table evergreen.promotions rename column epoch to revision;
alter view evergreen.champions rename column epoch to revision;
update evergreen.promotions set
    decision = case decision when 'kept' then 'rejected' else decision end,
    verdict = verdict
        || jsonb_build_object('outcome', case verdict ->> 'outcome' when 'kept' then 'rejected' else verdict ->> 'outcome' end)
        || jsonb_build_object('finding', case verdict ->> 'finding' when 'unfit' then 'ineligible' else verdict ->> 'finding' end)
        || jsonb_build_object('evidence', pg_temp.renamed(coalesce(verdict -> 'evidence', '{}'), '{
            "use": "reuse", "detectable": "minimum_detectable_effect",
            "harm_proven": "significant_harm", "harm_unproven": "inconclusive_harm", "harm_accepted": "accepted_harm"
        }'))
where verdict ? 'outcome' or decision = 'kept';
create unique index promotions_one_champion_a_revision on evergreen.promotions (model, revision) where decision = 'promoted';
alter table evergreen.promotions
    add constraint promotions_decision check (decision in ('promoted', 'rejected')),
    add constraint promotions_revision check (decision = 'rejected' or revision > 0),
    add constraint promotions_first check ((from_version is null) = (revision = (decision = 'promoted')::integer));

-- Scores and outcomes.
alter table evergreen.scoring_runs rename column begun_at to started_at;
alter table evergreen.scoring_runs rename column moved_at to updated_at;
alter view evergreen.latest_runs rename column begun_at to started_at;
alter view evergreen.latest_runs rename column moved_at to updated_at;
alter view evergreen.replaced_runs rename column begun_at to started_at;
alter view evergreen.replaced_runs rename column moved_at to updated_at;
alter table evergreen.log_segments rename column moved_at to updated_at;
alter table evergreen.outcomes rename column known_at to available_at;
alter view evergreen.current_outcomes rename column known_at to available_at;

-- Profiles of days that nobody scored, which are counted for a baseline.
alter table evergreen.profiles disable trigger append_only;
update evergreen.profiles set run_key = 'baseline' || substr(run_key, 6) where run_key like 'quiet/%';
alter table evergreen.profiles enable trigger append_only;

-- Verdicts on windows.
update evergreen.verdicts set
    action = case action when 'nothing' then 'none' when 'note' then 'info' when 'block' then 'quarantine' else action end,
    figures = replace(pg_temp.renamed(figures, '{"novelty": "drift"}')::text, '"exceeds":', '"above_limit":')::jsonb,
    findings = (
        select coalesce(jsonb_agg(
            pg_temp.renamed(finding, '{"says": "message"}') || jsonb_build_object('kind', case finding ->> 'kind'
                when 'suspicion' then 'warning' when 'feed' then 'data_incident' else finding ->> 'kind'
            end) order by place
        ), '[]')
        from jsonb_array_elements(findings) with ordinality as listed (finding, place)
    );
alter table evergreen.verdicts rename column exceeded to above_limit;
alter table evergreen.verdicts rename column held to suppressed;
alter view evergreen.current_verdicts rename column exceeded to above_limit;
alter view evergreen.current_verdicts rename column held to suppressed;
alter table evergreen.verdicts
    add constraint verdicts_action check (action in ('none', 'info', 'review', 'retrain', 'quarantine'));
alter table evergreen.notices rename to notifications;
alter table evergreen.notifications rename column told_at to notified_at;

-- Retrainings and erasures.
alter table evergreen.retrainings rename column begun_at to started_at;
update evergreen.retrainings set outcome = 'rejected' where outcome = 'kept';
alter table evergreen.retrainings add constraint retrainings_outcome check (outcome in ('promoted', 'rejected', 'failed'));
update evergreen.erasures set kind = case kind when 'person' then 'entity' else 'garbage_collection' end;
alter table evergreen.erasures add constraint erasures_kind check (kind in ('entity', 'garbage_collection'));

alter table evergreen.promotions enable trigger append_only;
alter table evergreen.verdicts enable trigger append_only;
alter table evergreen.erasures enable trigger append_only;

create or replace view evergreen.latest_scores as
with runs as materialized (    -- one row a model: asked once, and not for every score
    select
        latest.*,
        exists (
            select
            from evergreen.current_verdicts as verdicts
            where
                verdicts.model = latest.model and verdicts.version = latest.version and verdicts.action = 'quarantine'
                and latest.as_of between verdicts.first_day and verdicts.last_day
        ) as flagged
    from evergreen.latest_runs as latest
)

select
    predictions.model, predictions.entity, predictions.as_of, predictions.score, predictions.decision, predictions.version,
    predictions.scored_at, predictions.prediction_id, runs.flagged, runs.entity_column,
    runs.tiers[width_bucket(predictions.score, runs.tier_starts)] as tier
from runs
inner join evergreen.predictions
    on predictions.model = runs.model and predictions.run_key = runs.run_key and predictions.as_of = runs.as_of;
