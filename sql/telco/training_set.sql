-- Grain: one row a customer of IBM's Telco sample, which has no dates: the label is "has left".
--
-- total_charges comes as text, a blank for those who have not paid yet (all with tenure 0).

with customers as (
    select * from telco.customers
)

select
    "customerID" as customer_id,
    case "Churn" when 'Yes' then 1 when 'No' then 0 else -1 end as churned, -- -1: neither, at which stage validate stops
    "gender" as gender,
    ("SeniorCitizen" = 1) as senior_citizen,
    ("Partner" = 'Yes') as partner,
    ("Dependents" = 'Yes') as dependents,
    "tenure"::int as tenure_months,
    "Contract" as contract_type,
    "MonthlyCharges"::float8 as monthly_charges,
    nullif(trim("TotalCharges"), '')::float8 as total_charges,
    ("PaperlessBilling" = 'Yes') as paperless_billing,
    "PaymentMethod" as payment_method,
    ("PhoneService" = 'Yes') as phone_service,
    "MultipleLines" as multiple_lines,
    "InternetService" as internet_service,
    "OnlineSecurity" as online_security,
    "OnlineBackup" as online_backup,
    "DeviceProtection" as device_protection,
    "TechSupport" as tech_support,
    "StreamingTV" as streaming_tv,
    "StreamingMovies" as streaming_movies
from customers
order by customer_id
