-- One row, one text: a hash of the lines that training_set.sql reads at :as_of, in the columns that it reads; neither their
-- order nor their physical place counts, and lines of later days do not either.

with invoice_lines as (
    select
        md5(
            json_build_array(
                "InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"
            )::text
        ) as digest
    from retail.invoice_lines
    where
        "CustomerID" is not null
        and "InvoiceDate" < cast(:as_of as date) + 1
)

select
    md5(
        concat_ws(
            ' ',
            count(*),
            sum(('x' || substr(digest, 1, 15))::bit(60)::bigint::numeric),
            sum(('x' || substr(digest, 16, 15))::bit(60)::bigint::numeric)
        )
    ) as fingerprint
from invoice_lines
