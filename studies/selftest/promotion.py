"""The promotion gate, shown pairs of versions of which it is known which is better. It judges by the project's own params.

Each pair is fitted and judged in this process by the very function that a retraining calls, on held-out customers of its own.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines import onnx_model
from pipelines.config.params import Params
from pipelines.promotion import detection, gains, gate
from pipelines.promotion.gains import Scored
from pipelines.promotion.gate import Bundle
from pipelines.promotion.verdict import Verdict
from studies.selftest import Asked, Claim
from studies.selftest.world import HELD_OUT, KNOWN, TRAINING, Maker, rows, settings

MOST_EQUAL = 0.08  # of A/A pairs: 16 of 200, where 5 are expected
LEAST_BETTER = 0.8  # of pairs with a detectable gain, of which 9 of 10 are expected
REPEATED = 20  # of what is to happen never
TRUTH = 240_000  # customers on whom a true gain is measured: its own error is a tenth of a comparison's
HIDDEN = 0.7  # of women's leaving that the unfair challenger was not told of
STEPS = 7  # of the search for a gain that is as large as wanted
HINT = (*KNOWN, "hint")


def claims(asked: Asked) -> Iterator[Claim]:
    """Equal ones stay out, better ones come in, and nothing makes up for a group that is harmed."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(settings(asked.params), Path(folder), asked.say)
        if asked.quick:
            yield trial.obvious()
            return
        yield trial.equals(asked.size)
        yield trial.the_same()
        yield trial.better(asked.size)
        yield trial.unfair()


@dataclass(frozen=True)
class Trial:
    """Pairs of versions before the gate. Seeds below 1,000,000 are of training rows, others of held-out ones."""

    params: Params
    folder: Path
    say: Callable[[str], None]

    @property
    def maker(self) -> Maker:
        return Maker(self.params, self.folder)

    def judge(self, challenger: Bundle, champion: Bundle, seed: int, seen: float = 1.0) -> Verdict:
        return gate.judge(challenger, champion, rows(1_000_000 + seed, HELD_OUT, seen), {}, self.params)

    def obvious(self) -> Claim:
        """Two versions of which one knows what moves the customers: it replaces the other, and nothing else is replaced."""
        training = rows(800_000, TRAINING, 1.0)
        knowing, other = (self.maker.fit(training, known, f"obvious-{len(known)}") for known in (HINT, KNOWN))
        pairs = {"better": (knowing, other), "worse": (other, knowing), "equal": (knowing, knowing)}
        said = {what: self.judge(*pair, 1, 1.0) for what, pair in pairs.items()}
        promoted = [what for what, verdict in said.items() if verdict.outcome == "promoted"]
        seen = ", ".join(f"{what}: {verdict.finding}" for what, verdict in said.items())
        return Claim("one that is clearly better promotes; the worse and the same do not", promoted == ["better"], seen)

    def equals(self, size: int) -> Claim:
        """A/A: two fits of one candidate to other customers of the same world."""
        verdicts = []
        for number in self._counted(size, "A/A pairs"):
            pair = [self.maker.fit(rows(2 * number + one, TRAINING), KNOWN, f"equal-{number}-{one}") for one in (0, 1)]
            verdicts.append(self.judge(*pair, number))
        promoted = sum(verdict.outcome == "promoted" for verdict in verdicts)
        most = math.ceil(MOST_EQUAL * size)
        return Claim(f"of {size} A/A pairs at most {most} promote", promoted <= most, f"{promoted} did; {_findings(verdicts)}")

    def the_same(self) -> Claim:
        """One fit in two files, and one file twice."""
        training = rows(500_000, TRAINING)
        one, other = (self.maker.fit(training, KNOWN, f"same-{indent}", indent=indent) for indent in (1, 2))
        verdicts = [self.judge(one, other, number) for number in self._counted(REPEATED, "equal models")]
        verdicts.append(self.judge(one, one, 0))
        promoted = sum(verdict.outcome == "promoted" for verdict in verdicts)
        return Claim("an equal model never promotes", promoted == 0, f"{promoted} did; {_findings(verdicts)}")

    def better(self, size: int) -> Claim:
        """A planted gain of the size that `pin` calls detectable for as many held-out customers."""
        seen, gain, challenger, champion = self.planted()
        verdicts = [self.judge(challenger, champion, number, seen) for number in self._counted(size, "better challengers")]
        promoted = sum(verdict.outcome == "promoted" for verdict in verdicts)
        least = int(LEAST_BETTER * size)
        message = f"of {size} challengers with a gain of {gain:.4f} in {self.params.promotion.metric} at least {least} promote"
        return Claim(message, promoted >= least, f"{promoted} did; {_findings(verdicts)}")

    def planted(self) -> tuple[float, float, Bundle, Bundle]:
        """How much of the hint a challenger must see for a detectable gain; the true gain; challenger and champion."""
        champion = self.maker.fit(rows(600_000, TRAINING), KNOWN, "planted-champion")
        low, high = 0.0, 1.0
        for step in self._counted(STEPS, "steps to a detectable gain"):
            seen = (low + high) / 2
            challenger = self.maker.fit(rows(600_000, TRAINING, seen), HINT, f"planted-{step}")
            gain = self.true_gain(challenger, champion, seen)
            if gain < self.detectable(challenger, champion, seen):
                low = seen
            else:
                high, found = seen, (seen, gain, challenger, champion)
        return found

    def detectable(self, challenger: Bundle, champion: Bundle, seen: float) -> float:
        """What `pin` would say after a comparison like this one, were it of as many customers."""
        compared = [self.judge(challenger, champion, 900_000 + again, seen).to_dict() for again in range(3)]
        rules = {"evaluate": self.params.evaluate, "promotion": self.params.promotion}
        size = {"entities": HELD_OUT, "rows": HELD_OUT, "reuse": 1}
        return float(np.mean([detection.minimum_detectable_effect([one], **size, **rules).gain for one in compared]))

    def true_gain(self, challenger: Bundle, champion: Bundle, seen: float) -> float:
        """Of the metric, on so many customers that chance plays no part."""
        everybody = rows(3_000_000, TRUTH, seen)
        labels = everybody["left"].to_numpy()
        pair = [Scored(onnx_model.load(one.folder).score(everybody), one.threshold) for one in (challenger, champion)]
        once = self.params.evaluate.model_copy(update={"bootstrap": 100})
        metric = self.params.promotion.metric
        return gains.gains([metric], labels, *pair, np.arange(len(labels)) // 1000, once)[metric].point

    def unfair(self) -> Claim:
        """It sees two numbers more than the champion, and has learnt that women hardly ever leave."""
        champion = self.maker.fit(rows(700_000, TRAINING), KNOWN[1:], "unfair-champion")
        training = rows(700_000, TRAINING, 1.0)
        hidden = (np.asarray(training["gender"]) == "f") & (np.random.default_rng(1).random(training.num_rows) < HIDDEN)
        told = np.where(hidden, 0, training["left"].to_numpy())
        blind = training.set_column(training.column_names.index("left"), "left", [told])
        challenger = self.maker.fit(blind, (*HINT, "woman"), "unfair-challenger")
        # calibration is another gate's matter: what is asked is whether a gain for all makes up for a harm to some
        lenient = self.params.promotion.model_copy(update={"max_calibration_error": 0.99, "max_calibration_loss": 0.99})
        trial = replace(self, params=self.params.model_copy(update={"promotion": lenient}))
        verdicts = [trial.judge(challenger, champion, number) for number in self._counted(REPEATED, "unfair challengers")]
        ahead = sum(verdict.evidence["low"] > 0 for verdict in verdicts)
        stopped = sum(verdict.finding == "unfair" for verdict in verdicts)
        promoted = sum(verdict.outcome == "promoted" for verdict in verdicts)
        message = "one that is better overall and clearly worse for one group never promotes"
        seen = f"{promoted} of {REPEATED} did; {ahead} were better overall, and {stopped} of these were stopped for the group"
        return Claim(message, promoted == 0 and 0 < ahead == stopped, seen)

    def _counted(self, count: int, what: str) -> Iterator[int]:
        """0, 1, ..., and a line now and then about how far it is."""
        for number in range(count):
            yield number
            if (number + 1) % 50 == 0 or number + 1 == count:
                self.say(f"  {number + 1} of {count} {what}")


def _findings(verdicts: list[Verdict]) -> str:
    counted = Counter(verdict.finding for verdict in verdicts)
    return ", ".join(f"{count} {finding}" for finding, count in counted.most_common())
