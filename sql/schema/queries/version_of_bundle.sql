-- Grain: one row, or none when this bundle was not published.
select *
from evergreen.model_versions
where model = %(model)s and bundle_sha256 = %(bundle_sha256)s
