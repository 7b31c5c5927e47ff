-- Grain: one row a day of a stretch: the newest complete run of a version; where none is named, of who was champion then. Batch
-- runs, which hold everyone; those of the API where the stretch has no other.
with runs as (
    select *, bool_or(source = 'batch') over () as has_batch
    from evergreen.scoring_runs
    where
        model = %(model)s and as_of between %(first_day)s and %(last_day)s and state = 'complete'
        and case when cast(%(version)s as int) is null then as_champion else version = %(version)s end
)

select distinct on (as_of)
    model, run_key, sequence, version, as_of, source, as_champion, horizon_days, embargo_days, query_sha256, state, row_count,
    last_entity, started_at, updated_at
from runs
where source = 'batch' or not has_batch
order by as_of, sequence desc
