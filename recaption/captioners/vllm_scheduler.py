"""vLLM's scheduler, made to let answers out of the engine whole."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import LogprobsLists


@dataclass
class _Answer:
    """What a request was answered so far."""

    token_ids: list[int] = field(default_factory=list)
    logprob: float = 0.0


class WholeAnswers(Scheduler):
    """Keep the tokens of an answer, and the sum of their log-probabilities, until the answer ends.

    vLLM tells of every token in the step that made it, with arrays of its log-probability, its rank and itself; nobody
    here looks at an answer before it is whole. Of log-probabilities the sum alone is told, as if it were that of one
    token: vLLM's `cumulative_logprob` is then what it is without this class.
    """

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self._answers: dict[str, _Answer] = {}

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Return what ended in a step; for a client with nothing of the kind, an empty message."""
        by_client = super().update_from_output(scheduler_output, model_runner_output)
        for told in by_client.values():
            told.outputs = [one for one in told.outputs if self._is_whole(one)]
        if len(self._answers) > len(self.requests):
            # Some were given up on.
            self._answers = {name: self._answers[name] for name in self._answers.keys() & self.requests.keys()}
        return by_client

    def _is_whole(self, output: Any) -> bool:
        """Keep a step's part of an answer; with the last one, put the whole answer into it."""
        answer = self._answers.setdefault(output.request_id, _Answer())
        answer.token_ids += output.new_token_ids
        scored = output.new_logprobs
        if scored is not None:
            answer.logprob += float(scored.logprobs[:, 0].sum())
        if output.finish_reason is None:
            return False
        del self._answers[output.request_id]
        output.new_token_ids = answer.token_ids
        if scored is not None:
            told = np.array([[answer.logprob]], dtype=np.float64)
            output.new_logprobs = LogprobsLists(scored.logprob_token_ids[:1], told, scored.sampled_token_ranks[:1])
        return True
