"""vLLM's engine on a CPU, for a machine that decodes pictures beside it."""

from vllm import EngineArgs
from vllm.utils.ompmultiprocessing import OMPProcessManager
from vllm.v1.engine.llm_engine import LLMEngine
from vllm.v1.executor import Executor

_SCHEDULER = "recaption.captioners.vllm_scheduler.WholeAnswers"


def start_on_cpu(arguments: EngineArgs) -> LLMEngine:
    """Start an engine that schedules and computes in one process; raises ValueError as vLLM does.

    Left to itself vLLM 0.32 takes two on a CPU, and the one that schedules waits for the other in a busy loop, on the
    core that pictures are decoded on. It does so since threads are bound to cores by the environment in which a process
    starts; here the engine's whole process starts in that environment.
    """
    arguments.scheduler_cls = _SCHEDULER
    config = arguments.create_engine_config()
    # Only now: the platform's check puts two processes in its place.
    config.parallel_config.distributed_executor_backend = "uni"
    with OMPProcessManager(config).configure_omp_envs(rank=0, local_rank=0):
        executor = Executor.get_class(config)
        return LLMEngine(vllm_config=config, executor_class=executor, log_stats=False, multiprocess_mode=True)
