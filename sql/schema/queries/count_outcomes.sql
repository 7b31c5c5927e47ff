-- Grain: one row: how many predictions of some days are not to be judged yet on a day, how many are, and what is known of those.
with runs as (
    select *
    from evergreen.judged_runs
    where model = %(model)s and source = %(source)s and as_of between %(as_of_from)s and %(as_of_to)s
),

labels as (
    select distinct on (as_of, horizon_days, entity) as_of, horizon_days, entity, label, available_at
    from evergreen.outcomes
    where
        model = %(model)s and as_of between %(as_of_from)s and %(as_of_to)s
        and available_at <= %(judged_on)s
        and recorded_at <= coalesce(%(recorded_by)s::timestamptz, 'infinity')
    order by as_of, horizon_days, entity, available_at desc, sequence desc
),

judged as (
    select
        count(*) as labelled,
        count(*) filter (where labels.label = 1) as positives,
        count(*) filter (where labels.available_at > runs.final_on) as late
    from runs
    inner join evergreen.predictions
        on predictions.model = runs.model and predictions.run_key = runs.run_key and predictions.as_of = runs.as_of
    inner join labels
        on labels.as_of = runs.as_of and labels.horizon_days = runs.horizon_days and labels.entity = predictions.entity
    where runs.final_on <= %(judged_on)s
)

select
    coalesce(sum(runs.row_count) filter (where runs.final_on > %(judged_on)s), 0)::bigint as immature,
    coalesce(sum(runs.row_count) filter (where runs.final_on <= %(judged_on)s), 0)::bigint as matured,
    judged.labelled, judged.positives, judged.late
from judged
left join runs on true
group by judged.labelled, judged.positives, judged.late
