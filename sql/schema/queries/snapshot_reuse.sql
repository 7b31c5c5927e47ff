-- Grain: one row: how many decisions the rows of a snapshot have served when a version is judged against the champion
-- of an revision, this decision included. Judging the same pair again is no further use: it gives the same figures.
with decisions as (
    select
        sequence, to_version, revision - cast(decision = 'promoted' as integer) as revision,
        to_version = %(version)s and revision - cast(decision = 'promoted' as integer) = %(revision)s as is_own
    from evergreen.promotions
    where model = %(model)s and verdict ->> 'snapshot' = %(snapshot)s
)

select 1 + count(distinct (to_version, revision)) as reuse
from decisions
where sequence < coalesce((select min(sequence) from decisions where is_own), 9223372036854775807)
