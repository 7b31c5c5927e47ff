-- Grain: one row an entity of the newest complete run, the highest score first.
select entity, as_of, score, decision, tier, version, scored_at, flagged
from evergreen.latest_scores
where model = :model
order by score desc, entity
