-- Who scores, in batches or for the API: may learn which version to score by, and write what it said of whom. What was scored
-- before, and what came true of it, is none of its business.
grant usage on schema evergreen to {role};
grant select on evergreen.model_versions, evergreen.promotions, evergreen.champions to {role};
grant select, insert, update (state, row_count, last_entity, updated_at) on evergreen.scoring_runs to {role};
grant insert on evergreen.predictions to {role};
grant select, insert on evergreen.profiles to {role};
grant execute on function evergreen.predictions_partition (date) to {role};

-- The API knows its clients by digests of their keys, and notes how far its log was sent. Who is in a run of today already, it may
-- ask of those it names.
grant select on evergreen.api_keys to {role};
grant select, insert, update (sent_bytes, updated_at), delete on evergreen.log_segments to {role};
grant execute on function evergreen.entities_in_run (text, text, date, text[]) to {role};
