-- Grain: one row, the new verdict.
insert into evergreen.verdicts (
    model, window_key, first_day, last_day, version, judged_on, row_count, above_limit, alarmed, action, why, suppressed, matured,
    findings, figures
)
values (
    %(model)s, %(window_key)s, %(first_day)s, %(last_day)s, %(version)s, %(judged_on)s, %(row_count)s, %(above_limit)s,
    %(alarmed)s, %(action)s, %(why)s, %(suppressed)s, %(matured)s, cast(%(findings)s as jsonb), cast(%(figures)s as jsonb)
)
returning *
