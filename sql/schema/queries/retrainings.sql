-- Grain: one row a retraining, newest first; with the day on which the window that asked for it was judged.
select retrainings.*, verdicts.judged_on
from evergreen.retrainings
left join evergreen.current_verdicts as verdicts
    on verdicts.model = retrainings.model and verdicts.window_key = retrainings.cause
where retrainings.model = %(model)s
order by retrainings.sequence desc
