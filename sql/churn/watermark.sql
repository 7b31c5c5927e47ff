-- The newest day up to which every feed of the company is complete: one row, one date.
select min(complete_through) as watermark
from telecom.loads
