-- Grain: one row a tenure of a champion, in order: which version, since when and until when (null: it tenures), who began it and
-- what was found. The order is the revisions', whatever the clocks said.
select
    revision, to_version as version, from_version, actor, reason, verdict ->> 'finding' as finding, created_at as since,
    lead(created_at) over (order by revision) as until
from evergreen.promotions
where model = %(model)s and decision = 'promoted'
order by revision
