-- Grain: one row a retraining that ended without a word: it was killed. The caller holds the model's retraining lock.
update evergreen.retrainings
set ended_at = clock_timestamp(), outcome = 'failed'
where model = %(model)s and ended_at is null
returning run_id
