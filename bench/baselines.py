"""What the API is measured against: a bare ASGI application, which is what HTTP itself allows, and the plain way to serve.

python -m bench.baselines bare PORT
python -m bench.baselines plain PORT pipeline.joblib
"""

from __future__ import annotations

import sys
from typing import Any

ANSWER = b'{"probability":0.5}'


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Reads a request and answers a constant."""
    if scope["type"] != "http":
        return
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def plain(pipeline: str) -> Any:
    """As most tutorials do it: a synchronous FastAPI route, a DataFrame of the row, and a scikit-learn pipeline. It checks no
    key, no value, and keeps no log."""
    import joblib
    import pandas
    from fastapi import FastAPI

    model, app = joblib.load(pipeline), FastAPI()

    @app.post("/predict")
    def predict(row: dict) -> dict[str, float]:
        return {"probability": float(model.predict_proba(pandas.DataFrame([row]))[0, 1])}

    return app


def main(kind: str, port: str, *arguments: str) -> None:
    import uvicorn

    app = bare if kind == "bare" else plain(*arguments)
    options = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "warning", "server_header": False}
    uvicorn.run(app, host="127.0.0.1", port=int(port), lifespan="off", **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
