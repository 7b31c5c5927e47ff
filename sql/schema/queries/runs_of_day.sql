-- Grain: one row a batch run of a version and day, newest first. Waits for a chunk that a killed run may still be writing.
select *
from evergreen.scoring_runs
where model = %(model)s and version = %(version)s and as_of = %(as_of)s and source = 'batch'
order by sequence desc
for update
