-- Grain: one row: how many labels of this day were news, because they were not known by :known_by so far, or known otherwise.
--
-- What takes a 1 back, or contradicts what became known after it, is known since now, whatever day it bears: that of a 0 only
-- says when nothing had been heard for long enough.
with believed as (
    select distinct on (entity) entity, label, known_at
    from evergreen.outcomes
    where
        model = %(model)s and as_of = %(as_of)s and horizon_days = %(horizon_days)s and known_at <= %(known_by)s
    order by entity, known_at desc, sequence desc
),

recorded as (
    insert into evergreen.outcomes (model, entity, as_of, horizon_days, label, known_at)
    select
        %(model)s, arrived.entity, %(as_of)s, %(horizon_days)s, arrived.label,
        case when believed.label = 1 or believed.known_at > arrived.known_at then %(known_by)s else arrived.known_at end
    from arrived_outcomes as arrived
    left join believed using (entity)
    where arrived.known_at <= %(known_by)s and believed.label is distinct from arrived.label
    order by arrived.entity
    returning 1
)

select count(*) as recorded
from recorded
