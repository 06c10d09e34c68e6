"""Lines of metrics to TensorBoard's files, in the folder `tensorboard` of the run."""

from torch.utils.tensorboard import SummaryWriter

from fkd.runs.tracker import Line, Outcome, TrackedRun, scalars


class TensorBoard:
    """Writes events as lines come; it costs no wait, since a thread of TensorBoard's own writes them.

    What an earlier process wrote of steps that are done again is forgotten.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.after + 1)

    def log(self, line: Line) -> None:
        """Write the numbers of a line."""
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()

    def close(self, _: Outcome) -> None:
        """Write what is left; TensorBoard knows of no outcome."""
        self._writer.close()
