-- Grain: one row, the retraining as it ended.
update evergreen.retrainings
set ended_at = clock_timestamp(), outcome = %(outcome)s, version = %(version)s
where model = %(model)s and run_id = %(run_id)s
returning *
