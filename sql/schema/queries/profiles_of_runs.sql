-- Grain: one row a part of what was counted of a run, in the order of its rows.
select run_key, part, cast(histograms as text) as histograms
from evergreen.profiles
where model = %(model)s and run_key = any(%(run_keys)s)
order by run_key, part
