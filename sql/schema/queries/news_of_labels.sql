-- Grain: one row: whether a label of some days was heard of since a moment.
select exists (
    select
    from evergreen.outcomes
    where
        model = %(model)s and as_of between %(first_day)s and %(last_day)s
        and recorded_at > %(since)s
) as news
