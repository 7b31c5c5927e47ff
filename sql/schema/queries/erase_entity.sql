-- Grain: one row: how many predictions and outcomes of an entity were taken away.
select erased.predictions, erased.outcomes
from evergreen.erase_entity(%(model)s, %(entity)s) as erased
