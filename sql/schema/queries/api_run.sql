-- Grain: one row, the run of a version and day that the API's answers belong to; made when it is missing, and held until the end
-- of the transaction, so that several servers of one model take turns.
insert into evergreen.scoring_runs (model, run_key, version, as_of, source, as_champion, horizon_days, embargo_days)
values (%(model)s, %(run_key)s, %(version)s, %(as_of)s, 'api', true, %(horizon_days)s, %(embargo_days)s)
on conflict (model, run_key) do update set updated_at = clock_timestamp()
returning *
