-- Grain: one row a window that was judged, newest first: its newest verdict.
select *
from evergreen.current_verdicts
where model = %(model)s
order by last_day desc
