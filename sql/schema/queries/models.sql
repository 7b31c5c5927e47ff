-- Grain: one row a model that has a version, by name.
select distinct model
from evergreen.model_versions
order by model
