-- Grain: one row a decision, newest first.
select sequence, model, revision, decision, from_version, to_version, actor, reason, verdict, created_at
from evergreen.promotions
where model = %(model)s
order by sequence desc
limit %(rows)s
