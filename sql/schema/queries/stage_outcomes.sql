-- Where the labels of one day arrive; gone with the transaction.
create temporary table arrived_outcomes (
    entity text collate "C" not null,
    label smallint not null,
    available_at date not null
) on commit drop
