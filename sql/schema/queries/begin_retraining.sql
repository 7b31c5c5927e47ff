-- Grain: one row, the retraining; or none where another one was begun for the same cause.
with begun as (
    insert into evergreen.retrainings (model, run_id, cause, as_of)
    values (%(model)s, %(run_id)s, %(cause)s, cast(%(as_of)s as date))
    on conflict do nothing
    returning run_id
)

select run_id from begun
union
select run_id from evergreen.retrainings where model = %(model)s and run_id = %(run_id)s
