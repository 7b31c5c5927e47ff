-- What a role had by an earlier version of these files is taken back first.
revoke all on all tables in schema evergreen from {role};
revoke all on all routines in schema evergreen from {role};
revoke all on schema evergreen, optuna from {role};
