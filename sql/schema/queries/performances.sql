-- Grain: one row a judgement of a window's mature labels, newest first.
select
    sequence, model, window_key, version, judged_on, labelled, positives, late, metrics,
    case when %(with_groups)s then groups end as groups, recorded_at
from evergreen.performances
where model = %(model)s and (cast(%(window_key)s as text) is null or window_key = %(window_key)s)
order by sequence desc
