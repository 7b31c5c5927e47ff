-- Grain: one row a batch run that was given up or replaced before a moment, and that still has scores, oldest first.
select *
from evergreen.replaced_runs
where
    model = %(model)s and updated_at < %(before)s
    and exists (
        select
        from evergreen.predictions
        where
            predictions.model = replaced_runs.model and predictions.run_key = replaced_runs.run_key
            and predictions.as_of = replaced_runs.as_of
    )
order by sequence
