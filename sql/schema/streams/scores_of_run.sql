-- Grain: one row an entity of a run.
select score
from evergreen.predictions
where model = :model and run_key = :run_key and as_of = cast(:as_of as date)
