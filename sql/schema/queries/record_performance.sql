-- Grain: one row, the new judgement.
insert into evergreen.performances (
    model, window_key, version, judged_on, labelled, positives, late, metrics, groups
)
values (
    %(model)s, %(window_key)s, %(version)s, %(judged_on)s, %(labelled)s, %(positives)s, %(late)s,
    cast(%(metrics)s as jsonb), cast(%(groups)s as jsonb)
)
returning *
