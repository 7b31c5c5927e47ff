-- Grain: one row: how many labels are neither 0 nor 1, and how many entities have more than one.
select
    count(*) filter (where label not in (0, 1)) as bad_labels,
    count(*) - count(distinct entity) as doubled
from arrived_outcomes
