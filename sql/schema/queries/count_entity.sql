-- Grain: one row: how many predictions and outcomes of an entity there are.
select
    (select count(*) from evergreen.predictions where model = %(model)s and entity = %(entity)s) as predictions,
    (select count(*) from evergreen.outcomes where model = %(model)s and entity = %(entity)s) as outcomes
