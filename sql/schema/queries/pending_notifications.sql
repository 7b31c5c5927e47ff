-- Grain: one row a verdict that asks for something, and that nobody was told of; oldest first.
select verdicts.*
from evergreen.current_verdicts as verdicts
where
    verdicts.model = %(model)s and verdicts.action in ('quarantine', 'review', 'retrain')
    and not exists (select from evergreen.notifications where notifications.verdict = verdicts.sequence)
order by verdicts.sequence
