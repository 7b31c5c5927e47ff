-- Grain: one row, or none: a prediction by its identifier, with the state of its run.
select
    predictions.model, predictions.version, predictions.run_key, predictions.entity, predictions.as_of, predictions.score,
    predictions.decision, predictions.source, predictions.scored_at, scoring_runs.state
from evergreen.predictions
left join evergreen.scoring_runs using (model, run_key)    -- a second answer of the API on a day is in no run
where predictions.prediction_id = %(prediction_id)s
