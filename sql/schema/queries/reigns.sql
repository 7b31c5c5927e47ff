-- Grain: one row a reign of a champion, in order: which version, since when and until when (null: it reigns), who began it and
-- what was found. The order is the epochs', whatever the clocks said.
select
    epoch, to_version as version, from_version, actor, reason, verdict ->> 'finding' as finding, created_at as since,
    lead(created_at) over (order by epoch) as until
from evergreen.promotions
where model = %(model)s and decision = 'promoted'
order by epoch
