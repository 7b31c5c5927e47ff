-- Grain: one row a run of this version and day that was not finished, and now never will be.
update evergreen.scoring_runs
set state = 'superseded', updated_at = clock_timestamp()
where model = %(model)s and version = %(version)s and as_of = %(as_of)s and source = 'batch' and state = 'running'
returning run_key
