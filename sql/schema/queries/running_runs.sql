-- Grain: one row a batch run that has not ended: it goes on, or was killed.
select run_key, version, as_of
from evergreen.scoring_runs
where model = %(model)s and state = 'running' and source = 'batch'
