"""The settings by name: what may stand in `.env` or in the environment."""

from __future__ import annotations

from collections.abc import Mapping

# name -> its default, and what it is: docs/reference/settings.md and .env.example are made of these lines (`make reference`)
NAMES: Mapping[str, tuple[str, str]] = {
    "EVERGREEN_HOME": (
        "`.evergreen`",
        "the one folder that everything is written below, passwords included (`secrets.env`, mode 0600)",
    ),
    "SOURCE_URL": ("the embedded Postgres", "the company's database; its role needs nothing but SELECT"),
    "EVERGREEN_URL": ("the embedded Postgres", "our own database, by the role that owns schema `evergreen`"),
    "PROMOTER_URL": ("the embedded Postgres, or EVERGREEN_URL", "our own database, by the role that publishes and promotes"),
    "SCORER_URL": ("the embedded Postgres, or EVERGREEN_URL", "our own database, by the role that writes scores"),
    "WATCHER_URL": ("the embedded Postgres, or EVERGREEN_URL", "our own database, by the role that judges windows"),
    "LOAD_URL": (
        "the embedded Postgres",
        "who may write to the source, for `evergreen data load` and the demo data; only needed with a SOURCE_URL",
    ),
    "EVERGREEN_POSTGRES_PORT": ("54329", "port of the embedded Postgres"),
    "PREFECT_API_URL": ("`http://127.0.0.1:4200/api`", "Prefect's server"),
    "MLFLOW_TRACKING_URI": ("`http://127.0.0.1:5000`", "MLflow's server"),
    "EVERGREEN_SITE_URL": ("`http://127.0.0.1:8090`", "the report site"),
    "EVERGREEN_AUTH": (
        "`false`",
        "with `true` the local Prefect, MLflow and report site ask for a name and a password, kept in `secrets.env`",
    ),
    "PREFECT_API_AUTH_STRING": ("none, or the local stack's", "`NAME:PASSWORD` for Prefect's server"),
    "MLFLOW_TRACKING_USERNAME": ("none, or the local stack's", "the user of MLflow's server"),
    "MLFLOW_TRACKING_PASSWORD": ("none, or the local stack's", "that user's password"),
    "EVERGREEN_SITE_AUTH_STRING": ("none, or the local stack's", "`NAME:PASSWORD` for the report site"),
    "MLFLOW_FLASK_SERVER_SECRET_KEY": (
        "generated into `secrets.env`",
        "what MLflow's server signs forms with; the same for all of its replicas",
    ),
    "MLFLOW_SERVER_ALLOWED_HOSTS": (
        "this machine",
        "the names by which MLflow's server may be called, with their ports, such as `mlflow.example.com,mlflow:5000`",
    ),
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": (
        "this machine",
        "the addresses of MLflow's pages, such as `https://mlflow.example.com`",
    ),
    "EVERGREEN_LISTEN": ("`127.0.0.1`", "the address that servers listen on; `0.0.0.0` in a container"),
    "EVERGREEN_API_URL": ("the first port from 8000 on that serves no other clone of the stack", "this clone's API"),
    "EVERGREEN_API_MODEL": ("the clone's own model", "whose champion this clone's API serves"),
    "EVERGREEN_API_FSYNC": ("`false`", "with `true` an answer of the API waits until its record is on the disk"),
    "EVERGREEN_DVC_REMOTE": ("`<home>/dvc/remote`", "the DVC remote that all machines share: a folder or a bucket"),
    "EVERGREEN_ARTIFACTS": (
        "`<home>/mlflow/artifacts`",
        "where our MLflow keeps artifacts: a folder or a bucket",
    ),
    "EVERGREEN_POOLS": ("`cpu,gpu`", "the pools whose stages this machine runs; the others are another machine's to deploy"),
    "EVERGREEN_REPOSITORY": (
        "the clone's path",
        "where git on another machine finds this clone, such as `ssh://first/home/me/evergreen`",
    ),
    "EVERGREEN_IMAGE": ("none", "the image of work pools that run images, such as `registry.example.com/evergreen:cuda`"),
    "EVERGREEN_NOTIFY": (
        "nobody",
        "the Prefect notification blocks that are notified, such as `slack-webhook/team,custom-webhook/ops`",
    ),
}
