-- Grain: one row a day and horizon of a model's predictions whose labels are final by a day, oldest first; and how many.
select as_of, horizon_days, embargo_days, max(row_count)::bigint as row_count
from evergreen.judged_runs
where model = %(model)s and as_of between %(as_of_from)s and %(as_of_to)s and final_on <= %(available_by)s
group by as_of, horizon_days, embargo_days
order by as_of, horizon_days, embargo_days
