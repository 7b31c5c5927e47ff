-- The answer key of some days: one row a customer and month end, as in churn_probability.
select customer_id, snapshot_date, probability
from demo_oracle.churn_probability
where snapshot_date = any(cast(:dates as date []))
