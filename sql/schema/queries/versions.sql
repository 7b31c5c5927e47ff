-- Grain: one row a version, newest first.
select *
from evergreen.model_versions
where model = %(model)s
order by version desc
