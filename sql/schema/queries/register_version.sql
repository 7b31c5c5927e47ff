-- Grain: one row, the new version; its number is the next one of its model. The caller holds the model's registering lock.
insert into evergreen.model_versions (
    model, version, bundle_sha256, onnx_sha256, manifest, data_manifest_sha256, params_sha256, git_commit, git_ref,
    mlflow_run_id, mlflow_version, metrics
)
select
    %(model)s,
    (select coalesce(max(version), 0) + 1 from evergreen.model_versions where model = %(model)s),
    %(bundle_sha256)s, %(onnx_sha256)s, cast(%(manifest)s as jsonb), %(data_manifest_sha256)s, %(params_sha256)s,
    %(git_commit)s, %(git_ref)s, %(mlflow_run_id)s, %(mlflow_version)s, cast(%(metrics)s as jsonb)
returning *
