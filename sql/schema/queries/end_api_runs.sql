-- Grain: one row a run of the API whose day is over, and whose log has arrived.
update evergreen.scoring_runs
set state = 'complete', updated_at = clock_timestamp()
where model = %(model)s and source = 'api' and state = 'running' and as_of < %(today)s
returning run_key
