-- Grain: one row, the new run.
insert into evergreen.scoring_runs (
    model, run_key, version, as_of, source, as_champion, horizon_days, embargo_days, query_sha256,
    entity_column, tiers, tier_starts
)
values (
    %(model)s, %(run_key)s, %(version)s, %(as_of)s, 'batch',
    coalesce((select version = %(version)s from evergreen.champions where model = %(model)s), false),
    %(horizon_days)s, %(embargo_days)s, %(query_sha256)s,
    %(entity_column)s, %(tiers)s, %(tier_starts)s
)
returning *
