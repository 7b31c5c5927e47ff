-- The newest day that the table holds as a whole: the day before its newest line. One row, one date.
select max("InvoiceDate")::date - 1 as watermark
from retail.invoice_lines
