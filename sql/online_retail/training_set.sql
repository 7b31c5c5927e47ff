-- Grain: one row per active customer and snapshot date; active is who bought in the 90 days up to it.
--
-- Snapshot dates are the month ends from as_of - history_days to as_of - horizon_days - embargo_days. A customer has lapsed
-- when the horizon_days after the snapshot hold no purchase. With all three at 0 the only snapshot is as_of itself and the
-- label means nothing: that is scoring.
--
-- The table begins on 2010-12-01, so no feature looks back more than 90 days: a longer memory would fill up by itself, month
-- by month, and a model would learn the table's age. Days of purchase are summed up first: 542,000 lines are read once.

with snapshots as (
    select (first_day + interval '1 month')::date - 1 as snapshot_date
    from
        generate_series(
            date_trunc('month', (cast(:as_of as date) - cast(:history_days as int))::timestamp),
            date_trunc(
                'month',
                (cast(:as_of as date) - cast(:horizon_days as int) - cast(:embargo_days as int) + 1)::timestamp
            ) - interval '1 month',
            interval '1 month'
        ) as first_day
    union
    select cast(:as_of as date)
    where cast(:history_days as int) + cast(:horizon_days as int) + cast(:embargo_days as int) = 0
),

lines as (
    -- a quarter of the lines has no customer; codes without five digits are postage, fees and corrections; money is numeric,
    -- because sums of floats depend on the order in which rows are met
    select
        "CustomerID" as customer_id,
        "InvoiceNo" as invoice,
        "StockCode" as product,
        "Country" as country,
        "InvoiceDate"::date as day,
        "Quantity" as quantity,
        "Quantity" * "UnitPrice"::numeric as amount
    from retail.invoice_lines
    where
        "CustomerID" is not null
        and "InvoiceDate" < cast(:as_of as date) + 1
        and "StockCode" ~ '^[0-9]{5}'
        and "UnitPrice" > 0
),

purchases as (
    select * from lines
    where quantity > 0
),

purchase_days as (
    select
        customer_id,
        day,
        min(country) as country,
        count(distinct invoice) as orders,
        count(*) as lines,
        sum(quantity) as items,
        sum(amount) as money
    from purchases
    group by customer_id, day
),

return_days as (
    -- invoices whose number begins with C
    select customer_id, day, count(distinct invoice) as returns, -sum(amount) as money
    from lines
    where quantity < 0
    group by customer_id, day
),

activity as (
    select
        purchase_days.customer_id,
        snapshots.snapshot_date,
        min(purchase_days.country) filter (where is_past) as country,
        max(day) filter (where is_past) as newest_day,
        min(day) filter (where is_past) as oldest_day,
        count(*) filter (where is_past) as days,
        sum(orders) filter (where is_past) as orders,
        sum(orders) filter (where is_past and day > snapshot_date - 30) as orders_30d,
        sum(lines) filter (where is_past) as lines,
        sum(items) filter (where is_past) as items,
        sum(money) filter (where is_past) as money,
        sum(money) filter (where is_past and day > snapshot_date - 30) as money_30d,
        max(money) filter (where is_past) as money_largest,
        count(*) filter (where not is_past) as days_in_horizon
    from purchase_days
    inner join snapshots
        on purchase_days.day > snapshots.snapshot_date - 90
        and purchase_days.day <= snapshots.snapshot_date + cast(:horizon_days as int)
    cross join lateral (select purchase_days.day <= snapshots.snapshot_date as is_past) as when_it_was
    group by purchase_days.customer_id, snapshots.snapshot_date
),

population as (
    select * from activity
    where days > 0
),

returned as (
    select return_days.customer_id, snapshots.snapshot_date, sum(returns) as returns, sum(money) as money
    from return_days
    inner join snapshots
        on return_days.day > snapshots.snapshot_date - 90
        and return_days.day <= snapshots.snapshot_date
    group by return_days.customer_id, snapshots.snapshot_date
),

assortment as (
    select purchases.customer_id, snapshots.snapshot_date, count(distinct product) as products
    from purchases
    inner join snapshots
        on purchases.day > snapshots.snapshot_date - 90
        and purchases.day <= snapshots.snapshot_date
    group by purchases.customer_id, snapshots.snapshot_date
)

select
    population.customer_id,
    population.snapshot_date,
    (population.days_in_horizon = 0)::int as lapsed,
    case
        when population.country = 'United Kingdom' then 'united kingdom'
        when population.country in (
            'Austria', 'Belgium', 'Channel Islands', 'Cyprus', 'Czech Republic', 'Denmark', 'EIRE', 'European Community',
            'Finland', 'France', 'Germany', 'Greece', 'Iceland', 'Italy', 'Lithuania', 'Malta', 'Netherlands', 'Norway',
            'Poland', 'Portugal', 'Spain', 'Sweden', 'Switzerland'
        ) then 'rest of europe'
        else 'elsewhere'
    end as country_group,
    -- recency
    (population.snapshot_date - population.newest_day)::int as recency_days,
    (population.snapshot_date - population.oldest_day)::int as oldest_days,
    -- frequency
    population.orders::int as orders_90d,
    coalesce(population.orders_30d, 0)::int as orders_30d,
    population.days::int as purchase_days_90d,
    ((population.newest_day - population.oldest_day)::numeric / nullif(population.days - 1, 0))::float8 as mean_gap_days,
    (
        (population.snapshot_date - population.newest_day)
        / nullif((population.newest_day - population.oldest_day)::numeric / nullif(population.days - 1, 0), 0)
    )::float8 as recency_of_gap,
    -- money
    population.money::float8 as money_90d,
    (population.money / population.orders)::float8 as money_per_order,
    population.money_largest::float8 as money_largest_day,
    population.items::int as items_90d,
    (population.items / population.lines)::float8 as items_per_line,
    assortment.products::int as products_90d,
    -- returns
    coalesce(returned.returns, 0)::int as returns_90d,
    (coalesce(returned.money, 0) / population.money)::float8 as returned_share_90d,
    -- trend: the last month's share of three months' money
    (coalesce(population.money_30d, 0) / population.money)::float8 as money_share_30d
from population
inner join assortment using (customer_id, snapshot_date)
left join returned using (customer_id, snapshot_date)
order by customer_id, snapshot_date
