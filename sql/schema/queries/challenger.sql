-- Grain: one row, or none: the newest version, unless it was ever champion.
select *
from evergreen.model_versions
where
    model = %(model)s
    and version = (select max(version) from evergreen.model_versions where model = %(model)s)
    and not exists (
        select
        from evergreen.promotions
        where
            promotions.model = model_versions.model
            and promotions.to_version = model_versions.version
            and promotions.decision = 'promoted'
    )
