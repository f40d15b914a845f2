"""One chapter in one kernel of this Python: run it to its end, or say what went wrong."""

import asyncio
import contextlib
import copy
import logging
import os
import re
import signal
import tempfile
import time
from dataclasses import dataclass, field

from course_lib.book.pages import Page

__all__ = ["Failure", "Run"]

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Failure:
    """A chapter that did not run to its end: what to show."""

    page: Page
    text: str


class Stopped(Exception):
    """Raised in a run that is to end because the person pressed Ctrl-C."""


@dataclass
class Run:
    """One chapter's run, in a thread of its own."""

    page: Page
    timeout: float
    notebook: object = None
    seconds: float = 0.0
    running: bool = False
    stopping: bool = False
    client: object = field(default=None, repr=False)
    index: int = 0  # of the cell at work
    last_words: str = ""  # what the kernel wrote past Jupyter, such as the reason of its death

    def __call__(self):
        """Run; returns None, or the Failure."""
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        start = time.monotonic()
        self.running, reason = True, None
        try:
            self._execute(start + self.timeout)
        except CellExecutionError:
            reason = self._traceback()
        except CellTimeoutError:
            reason = f"the chapter took longer than {self.timeout:g} s → make this cell cheaper"
        except DeadKernelError:
            reason = f"the kernel died in this cell → it may need more memory\n{self.last_words}".rstrip()
        except Exception as error:
            reason = f"the kernel failed: {type(error).__name__}: {error}\n{self.last_words}".rstrip()
        finally:
            self.running, self.seconds = False, time.monotonic() - start
        if reason is None:
            return None
        source = self.notebook.cells[self.index].source.rstrip()
        indented = "\n".join("    " + line for line in source.splitlines())
        where = f"{self.page.file}:{self.page.line(self.index)}: cell {self.index + 1}"
        return Failure(self.page, f"{where} failed\n{indented}\n{reason}")

    def _execute(self, deadline):
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        silent = logging.getLogger("course_lib.book.kernel")
        silent.setLevel(logging.CRITICAL + 1)
        self.notebook = copy.deepcopy(self.page.notebook)
        manager = AsyncKernelManager(kernel_spec_manager=_this_python(), log=silent)
        self.client = NotebookClient(
            self.notebook,
            km=manager,
            log=silent,
            record_timing=False,  # it would go into the metadata, by which the builder looks a run up
            timeout_func=lambda cell: max(0.001, deadline - time.monotonic()),
            on_cell_start=self._cell_starts,
            resources={"metadata": {"path": str(self.page.path.parent)}},
        )
        with tempfile.TemporaryFile() as log:
            environment = _environment(self.page.root)
            try:
                asyncio.run(self.client.async_execute(env=environment, stderr=log, cleanup_kc=True))
            finally:
                log.seek(0)
                lines = log.read().decode(errors="replace").splitlines()
                self.last_words = "\n".join(line for line in lines if "[IPKernelApp]" not in line)[-2000:]

    def _cell_starts(self, cell, cell_index):
        self.index = cell_index
        if self.stopping:
            raise Stopped

    def _traceback(self):
        errors = [output for output in self.notebook.cells[self.index].outputs if output.output_type == "error"]
        return ANSI.sub("", "\n".join(line for error in errors for line in error.traceback)).rstrip()

    def stop(self):
        """End the kernel now, whatever it does; called from another thread."""
        self.stopping = True
        provisioner = getattr(getattr(self.client, "km", None), "provisioner", None)
        group = getattr(provisioner, "pgid", None)
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def _this_python():
    """Kernels run the Python that runs this, whatever kernels a person has registered."""
    import ipykernel.kernelspec
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            return KernelSpec(**ipykernel.kernelspec.get_kernel_dict())

    return ThisPython()


def _environment(root):
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
    environment.pop("MPLBACKEND", None)  # the kernel sets the one that draws into the page
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return environment
