-- Grain: one row, the refusal, with the champion of the revision it was judged in; or none when the latest decision about
-- this version already says the same. Checks are left out of that: they hold latencies, which differ a little every time.
insert into evergreen.promotions (model, revision, decision, from_version, to_version, actor, reason, verdict)
select
    %(model)s, %(revision)s, 'rejected',
    (
        select to_version
        from evergreen.promotions
        where model = %(model)s and revision = %(revision)s and decision = 'promoted'
    ),
    %(to_version)s, %(actor)s, %(reason)s, cast(%(verdict)s as jsonb)
where not exists (
    select
    from evergreen.promotions
    where
        sequence = (select max(sequence) from evergreen.promotions where model = %(model)s and to_version = %(to_version)s)
        and revision = %(revision)s and decision = 'rejected' and verdict - 'checks' = cast(%(verdict)s as jsonb) - 'checks'
)
returning *
