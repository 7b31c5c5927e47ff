-- Scores say what their entity is called in the source, and which tier they are in.

-- tier_starts: probabilities from which on each tier begins, rising, the first of them 0; null for versions without tiers.
alter table evergreen.scoring_runs
    add column entity_column text, add column tiers text[], add column tier_starts double precision[];

-- As before, with the new columns of the run.
create or replace view evergreen.latest_runs as
select distinct on (runs.model) runs.*
from evergreen.scoring_runs as runs
left join evergreen.champions on champions.model = runs.model
where runs.state = 'complete' and runs.source = 'batch' and runs.as_champion
order by runs.model, runs.as_of desc, (runs.version = champions.version) desc nulls last, runs.sequence desc;

-- The newest scores, as before; and what the entity is called in the source, and the tier.
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
    predictions.scored_at, predictions.prediction_id, runs.flagged, runs.entity_column,
    runs.tiers[width_bucket(predictions.score, runs.tier_starts)] as tier
from runs
inner join evergreen.predictions
    on predictions.model = runs.model and predictions.run_key = runs.run_key and predictions.as_of = runs.as_of;
