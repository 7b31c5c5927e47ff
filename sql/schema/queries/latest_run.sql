-- Grain: one row, or none: the run whose scores are to be read.
select *
from evergreen.latest_runs
where model = %(model)s
