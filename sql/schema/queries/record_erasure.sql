-- Grain: one row, the new erasure.
insert into evergreen.erasures (model, kind, actor, predictions, outcomes, files, versions)
values (%(model)s, %(kind)s, %(actor)s, %(predictions)s, %(outcomes)s, %(files)s, %(versions)s)
returning sequence
