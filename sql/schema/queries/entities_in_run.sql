-- Grain: one row an entity that a run of the API holds already.
select evergreen.entities_in_run(%(model)s, %(run_key)s, %(as_of)s, %(entities)s) as entity
