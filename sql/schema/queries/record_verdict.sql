-- Grain: one row, the new verdict.
insert into evergreen.verdicts (
    model, window_key, first_day, last_day, version, judged_on, row_count, exceeded, alarmed, action, why, held, matured,
    findings, figures
)
values (
    %(model)s, %(window_key)s, %(first_day)s, %(last_day)s, %(version)s, %(judged_on)s, %(row_count)s, %(exceeded)s,
    %(alarmed)s, %(action)s, %(why)s, %(held)s, %(matured)s, cast(%(findings)s as jsonb), cast(%(figures)s as jsonb)
)
returning *
