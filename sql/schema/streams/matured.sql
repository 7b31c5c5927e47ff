-- Grain: one row an entity, version and day whose label was final by :judged_on and is known: the prediction with that label, as
-- it was known on :judged_on. What came later, and what nobody had told us by :recorded_by, is not in it.
with labels as (
    select distinct on (as_of, horizon_days, entity) as_of, horizon_days, entity, label, available_at
    from evergreen.outcomes
    where
        model = :model and as_of between :as_of_from and :as_of_to
        and available_at <= cast(:judged_on as date)
        and recorded_at <= coalesce(cast(:recorded_by as timestamptz), 'infinity')
    order by as_of, horizon_days, entity, available_at desc, sequence desc
)

select
    predictions.version, predictions.entity, predictions.as_of, predictions.score, predictions.decision,
    labels.label::int as label, labels.available_at
from evergreen.judged_runs as runs
inner join evergreen.predictions
    on predictions.model = runs.model and predictions.run_key = runs.run_key and predictions.as_of = runs.as_of
inner join labels
    on labels.as_of = runs.as_of and labels.horizon_days = runs.horizon_days and labels.entity = predictions.entity
where
    runs.model = :model and runs.source = :source
    and runs.as_of between :as_of_from and :as_of_to
    and runs.final_on <= cast(:judged_on as date)
