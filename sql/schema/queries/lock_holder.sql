-- Grain: one row, or none when nobody holds the lock: since when its session is connected, and from where.
select pg_stat_activity.pid, pg_stat_activity.backend_start, pg_stat_activity.client_addr
from pg_locks
join pg_stat_activity using (pid)
where
    pg_locks.locktype = 'advisory'
    and pg_locks.granted
    and pg_locks.objsubid = 1
    and pg_locks.classid::bigint = (hashtextextended(%(name)s, 0) >> 32) & 4294967295
    and pg_locks.objid::bigint = hashtextextended(%(name)s, 0) & 4294967295
    and pg_locks.database = (select oid from pg_database where datname = current_database())
