-- Grain: one row, the run with these rows added; or none when somebody else has moved it since it was read.
update evergreen.scoring_runs
set
    row_count = row_count + %(new_rows)s, last_entity = coalesce(%(last_entity)s, last_entity), state = %(state)s,
    updated_at = clock_timestamp()
where model = %(model)s and run_key = %(run_key)s and row_count = %(row_count)s and state = 'running'
returning *
