-- Who judges windows, and who reads for pages: may read everything but what opens doors, and add what watching finds out. It
-- moves no champion, scores nobody, and begins no retraining.
grant usage on schema evergreen to {role};
grant select on
    evergreen.model_versions, evergreen.promotions, evergreen.champions, evergreen.retrainings,
    evergreen.scoring_runs, evergreen.predictions, evergreen.latest_runs, evergreen.latest_scores, evergreen.judged_runs,
    evergreen.current_outcomes, evergreen.current_verdicts
to {role};
grant select, insert on
    evergreen.outcomes, evergreen.profiles, evergreen.verdicts, evergreen.notifications, evergreen.performances
to {role};
