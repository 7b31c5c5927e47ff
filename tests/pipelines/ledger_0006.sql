-- A small ledger as revision 0006 had it: three versions, a rejection, three windows, one told alert, scores and an outcome.
insert into evergreen.model_versions
    (model, version, bundle_sha256, onnx_sha256, manifest, data_manifest_sha256, params_sha256, git_commit, git_ref,
     mlflow_run_id, mlflow_version, metrics)
select
    'churn', number, repeat(number::text, 64), repeat('a', 64), '{"model.onnx": "a"}', 'd', 'p', 'c', 'r', 'm' || number, number,
    '{"roc_auc": 0.8}'
from generate_series(1, 3) as number;

insert into evergreen.promotions (model, epoch, decision, from_version, to_version, actor, reason, verdict) values
('churn', 1, 'promoted', null, 1, 'evergreen', 'The first.', '{"outcome": "promoted", "finding": "first", "headline": "The first.", "checks": [], "evidence": {"use": 1}}'),
('churn', 2, 'promoted', 1, 2, 'evergreen', 'Better.', '{"outcome": "promoted", "finding": "better", "headline": "Better.", "checks": [], "evidence": {"use": 1, "detectable": 0.02}}'),
('churn', 2, 'kept', 2, 3, 'evergreen', 'The champion stays.', '{"outcome": "kept", "finding": "unfit", "headline": "The champion stays.", "checks": [], "evidence": {"use": 2, "detectable": 0.01, "harm_proven": 1, "rows": 900}}');

insert into evergreen.verdicts
    (model, window_key, first_day, last_day, version, judged_on, row_count, exceeded, alarmed, action, why, held, findings, figures)
values
('churn', '2025-01', '2025-01-01', '2025-01-31', 2, '2025-02-01', 900, false, false, 'nothing', 'Nothing moved.', null, '[]', '{"novelty": {"score": 1.5, "exceeds": false}, "performance": null}'),
('churn', '2025-02', '2025-02-01', '2025-02-28', 2, '2025-03-01', 900, true, false, 'block', 'A feed is broken.', 'A retraining is under way already.',
 '[{"kind": "feed", "about": "usage", "says": "usage is 1000 times what it was.", "rows": 900}, {"kind": "suspicion", "about": "usage", "says": "The data moved in usage.", "rows": 900}]', '{"novelty": {"score": 9}}'),
('churn', '2025-03', '2025-03-01', '2025-03-31', 2, '2025-04-01', 900, true, true, 'note', 'The data moved.', null,
 '[{"kind": "drift", "about": "usage", "says": "The data moved in usage.", "rows": 900}]', '{"novelty": {"score": 9}}');
insert into evergreen.notices (verdict) select sequence from evergreen.verdicts where action = 'block';
insert into evergreen.retrainings (model, run_id, cause, as_of, outcome, version) values ('churn', 'r1', '2025-03', '2025-03-31', 'kept', 3);
insert into evergreen.erasures (model, kind, actor, predictions, outcomes, files, versions) values
('churn', 'person', 'a', 1, 1, 0, '{1}'), ('churn', 'collected', 'a', 1, 0, 0, '{}');

select evergreen.predictions_partition('2025-02-28');
insert into evergreen.scoring_runs
    (model, run_key, version, as_of, source, as_champion, horizon_days, embargo_days, state, row_count, last_entity)
values ('churn', 'batch/v2/2025-02-28', 2, '2025-02-28', 'batch', true, 30, 14, 'complete', 1, '7');
insert into evergreen.predictions (prediction_id, model, version, run_key, entity, as_of, score, decision, source)
values ('00000000-0000-7000-8000-000000000001', 'churn', 2, 'batch/v2/2025-02-28', '7', '2025-02-28', 0.25, false, 'batch');
insert into evergreen.outcomes (model, entity, as_of, horizon_days, label, known_at) values ('churn', '7', '2025-02-28', 30, 1, '2025-04-20');
