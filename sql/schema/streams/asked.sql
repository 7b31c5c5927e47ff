-- Grain: one row an entity of a run of the API: what it was asked, as JSON, and the score that it gave.
select cast(features as text) as features, score
from evergreen.predictions
where model = :model and run_key = :run_key and as_of = cast(:as_of as date)
