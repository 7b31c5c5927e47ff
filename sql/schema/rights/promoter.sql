-- Who publishes, judges and promotes, in a retraining or by hand: may add versions and decisions, and note how a retraining
-- ends. It reads no score and no outcome. Trials that several processes share are in a schema of Optuna's own tables.
grant usage on schema evergreen to {role};
grant select, insert on evergreen.model_versions, evergreen.promotions to {role};
grant select on evergreen.champions to {role};
grant select, insert, update (ended_at, outcome, version) on evergreen.retrainings to {role};
grant usage, create on schema optuna to {role};

-- Tables of a time when the owner made them. Who made its own needs no right to them, and nobody else can give one.
do $$
declare
    made regclass;
begin
    for made in
        select oid from pg_class
        where relnamespace = 'optuna'::regnamespace and relkind in ('r', 'S') and pg_get_userbyid(relowner) = current_user
    loop
        execute format('grant all on %s to {role}', made);
    end loop;
end
$$;
