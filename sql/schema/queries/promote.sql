-- Grain: one row, the promotion; or none when the expected epoch is over. One statement reads the epoch and ends it; the
-- unique index on (model, epoch) makes two that run at once queue up, and the second then conflicts.
with current_champion as (
    select epoch, version from evergreen.champions where model = %(model)s
)

insert into evergreen.promotions (model, epoch, decision, from_version, to_version, actor, reason, verdict)
select
    %(model)s, %(expected_epoch)s + 1, 'promoted', (select version from current_champion), %(to_version)s,
    %(actor)s, %(reason)s, cast(%(verdict)s as jsonb)
where coalesce((select epoch from current_champion), 0) = %(expected_epoch)s
on conflict (model, epoch) where decision = 'promoted' do nothing
returning *
