-- Grain: one row, or none before the first promotion: the version that serves, and the revision it tenures in.
select champions.revision, model_versions.*
from evergreen.champions
join evergreen.model_versions using (model, version)
where champions.model = %(model)s
