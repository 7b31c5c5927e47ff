-- Grain: one row, or none where it was told before.
insert into evergreen.notifications (verdict)
values (%(verdict)s)
on conflict do nothing
returning verdict
