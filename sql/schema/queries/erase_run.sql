-- Grain: one row: how many scores of a replaced run were taken away.
select evergreen.erase_run(%(model)s, %(run_key)s) as erased
