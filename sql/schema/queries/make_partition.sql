-- Grain: one row, the name of the partition that takes the predictions of a day.
select evergreen.predictions_partition(%(as_of)s) as name
