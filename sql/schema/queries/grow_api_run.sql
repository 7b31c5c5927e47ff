-- Grain: one row, the run with these rows added.
update evergreen.scoring_runs
set row_count = row_count + %(new_rows)s, updated_at = clock_timestamp()
where model = %(model)s and run_key = %(run_key)s
returning *
