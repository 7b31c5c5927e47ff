-- Grain: one row: how many labels of this day were news, because they were not known by :available_by so far, or known otherwise.
--
-- What takes a 1 back, or contradicts what became known after it, is known since now, whatever day it bears: that of a 0 only
-- says when nothing had been heard for long enough.
with believed as (
    select distinct on (entity) entity, label, available_at
    from evergreen.outcomes
    where
        model = %(model)s and as_of = %(as_of)s and horizon_days = %(horizon_days)s and available_at <= %(available_by)s
    order by entity, available_at desc, sequence desc
),

recorded as (
    insert into evergreen.outcomes (model, entity, as_of, horizon_days, label, available_at)
    select
        %(model)s, arrived.entity, %(as_of)s, %(horizon_days)s, arrived.label,
        case when believed.label = 1 or believed.available_at > arrived.available_at then %(available_by)s else arrived.available_at end
    from arrived_outcomes as arrived
    left join believed using (entity)
    where arrived.available_at <= %(available_by)s and believed.label is distinct from arrived.label
    order by arrived.entity
    returning 1
)

select count(*) as recorded
from recorded
