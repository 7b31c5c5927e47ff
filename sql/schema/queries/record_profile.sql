-- Grain: one row, or none where this part was counted before.
insert into evergreen.profiles (model, run_key, part, version, as_of, row_count, histograms)
values (%(model)s, %(run_key)s, %(part)s, %(version)s, %(as_of)s, %(row_count)s, cast(%(histograms)s as json))
on conflict do nothing
returning part
