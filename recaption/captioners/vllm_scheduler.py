"""vLLM's scheduler, made to let answers out of the engine whole."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import LogprobsLists


@dataclass(slots=True)
class _Answer:
    """What a request was answered so far."""

    token_ids: list[int] = field(default_factory=list)
    logprob: float = 0.0


class WholeAnswers(Scheduler):
    """Keep the tokens of an answer, and the sum of their log-probabilities, until the answer ends.

    vLLM tells of every token in the step that made it, with arrays of its log-probability, its rank and itself; nobody
    here looks at an answer before it is whole. Of log-probabilities the sum alone is told, as if it were that of one
    token: vLLM's `cumulative_logprob` is then what it is without this class. Whoever guesses tokens ahead, so that a
    step makes several of an answer, is told of them as ever.
    """

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self._answers: dict[str, _Answer] = {}

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """Return what ended in a step; to a client with nothing of the kind, an empty message."""
        scored = model_runner_output.logprobs
        if scored is None or scored.cu_num_generated_tokens is not None:
            return super().update_from_output(scheduler_output, model_runner_output)
        # In one go: a slice of arrays for each request takes three hundredths of a step.
        logprobs, places = scored.logprobs[:, 0].tolist(), model_runner_output.req_id_to_index
        model_runner_output.logprobs = None
        by_client = super().update_from_output(scheduler_output, model_runner_output)
        for told in by_client.values():
            for one in told.outputs:
                self._keep(one, logprobs, places)
            told.outputs = [self._whole(one) for one in told.outputs if one.finish_reason is not None]
        if len(self._answers) > len(self.requests):
            # Some were given up on.
            self._answers = {name: self._answers[name] for name in self._answers.keys() & self.requests.keys()}
        return by_client

    def _keep(self, output: Any, logprobs: list[float], places: dict[str, int]) -> None:
        answer = self._answers.get(output.request_id)
        if answer is None:
            answer = self._answers[output.request_id] = _Answer()
        if output.new_token_ids:
            answer.token_ids += output.new_token_ids
            answer.logprob += logprobs[places[output.request_id]]

    def _whole(self, output: Any) -> Any:
        """Put the whole answer into what tells of its end."""
        answer = self._answers.pop(output.request_id)
        output.new_token_ids = answer.token_ids
        if answer.token_ids:
            last, sum_of_all = np.array([answer.token_ids[-1:]]), np.array([[answer.logprob]])
            output.new_logprobs = LogprobsLists(last, sum_of_all, np.ones(1, dtype=np.int64))
        return output
