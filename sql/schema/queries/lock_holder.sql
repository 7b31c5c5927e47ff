-- Grain: one row, or none when nobody holds the lock: whose session it is, and since when it is connected.
select pg_stat_activity.application_name, pg_stat_activity.backend_start
from pg_locks
join pg_stat_activity using (pid)
where
    pg_locks.locktype = 'advisory'
    and pg_locks.granted
    and pg_locks.objsubid = 1
    and pg_locks.classid::bigint = (hashtextextended(%(name)s, 0) >> 32) & 4294967295
    and pg_locks.objid::bigint = hashtextextended(%(name)s, 0) & 4294967295
    and pg_locks.database = (select oid from pg_database where datname = current_database())
