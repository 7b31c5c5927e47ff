-- Grain: one row, the promotion; or none when the expected revision is over. One statement reads the revision and ends it; the
-- unique index on (model, revision) makes two that run at once queue up, and the second then conflicts.
with current_champion as (
    select revision, version from evergreen.champions where model = %(model)s
)

insert into evergreen.promotions (model, revision, decision, from_version, to_version, actor, reason, verdict)
select
    %(model)s, %(expected_revision)s + 1, 'promoted', (select version from current_champion), %(to_version)s,
    %(actor)s, %(reason)s, cast(%(verdict)s as jsonb)
where coalesce((select revision from current_champion), 0) = %(expected_revision)s
on conflict (model, revision) where decision = 'promoted' do nothing
returning *
