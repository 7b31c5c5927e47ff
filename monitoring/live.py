"""Whether a model's API answers and its schedules run, asked when a page is written, and again when it is opened.

A page is a file, and these change without anybody writing one. So what it says of them stands between two marks, with the
address to ask; who serves the page puts a new answer between them (infra/stack/site.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

PATIENCE = 0.7  # seconds
MARKED = re.compile(r"<!-- live (api|schedules) (\S+) -->.*?<!-- end of live -->", re.S)


class Answer(NamedTuple):
    """A word, its tone (good, bad, warn or calm), and what else there is to say."""

    word: str
    tone: str
    more: str = ""


def api(url: str) -> Answer:
    """Of a model's API at `url`."""
    import httpx

    try:
        answer = httpx.get(f"{url}/ready", timeout=PATIENCE, trust_env=False).json()
        if not answer.get("ready"):
            return Answer("not ready", "bad", str(answer.get("reason") or "no version serves yet"))
        return Answer("up", "good", f"answers by v{answer['version']}")
    except (httpx.HTTPError, ValueError, KeyError, AttributeError):
        return Answer("down", "bad", f"no answer at {url}")


def schedules(url: str) -> Answer:
    """Of a model's deployments; `url` is Prefect's API, and the model after a #."""
    import httpx

    server, _, model = url.partition("#")
    try:
        body = {"deployments": {"name": {"any_": [model]}}}
        answer = httpx.post(f"{server}/deployments/filter", json=body, timeout=PATIENCE, trust_env=False)
        planned = {
            str(deployment["entrypoint"]).partition(":")[2]: deployment["paused"]
            or not any(each["active"] for each in deployment["schedules"])
            for deployment in answer.raise_for_status().json()
            if deployment["schedules"]
        }
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return Answer("unknown", "warn", "Prefect does not answer")
    return of_schedules(planned)


def of_schedules(planned: Mapping[str, bool]) -> Answer:
    """planned: flow -> whether its schedule is paused."""
    paused = [flow for flow, is_paused in planned.items() if is_paused]
    if not planned:
        return Answer("none", "calm", "nothing runs by itself")
    if not paused:
        return Answer("on", "good", ", ".join(sorted(planned)))
    return Answer("paused", "warn", "all of them" if len(paused) == len(planned) else ", ".join(sorted(paused)))


ASKED: dict[str, Callable[[str], Answer]] = {"api": api, "schedules": schedules}


def refresh(page: str) -> str:
    """The page with new answers between its marks."""
    from monitoring.reports import render

    def again(match: re.Match[str]) -> str:
        kind, url = match[1], match[2]
        return render("live.html", kind=kind, url=url, answer=ASKED[kind](url))

    return MARKED.sub(again, page)
