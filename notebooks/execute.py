"""Run notebooks from top to bottom in a Jupyter kernel, and keep what they show in them.

python notebooks/execute.py notebooks/mixtures.ipynb notebooks/regression.ipynb      after `make quickstart`
"""

import argparse
import hashlib
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

CODE_HASH = "code_sha256"
"""Key of a notebook's metadata: the hash of the code that its outputs are of."""
SETTINGS = "settings"
"""Id of the cell that says what a notebook works on."""
TIMEOUT_SECONDS = 900


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--settings", type=Path, help="a file of code that takes the place of the cell of settings")
    parser.add_argument("--out", type=Path, help="a folder for what was run; the notebooks themselves unless given")
    parser.add_argument("--kernel", default="python3")
    given = parser.parse_args()
    for path in given.notebooks:
        notebook = nbformat.read(path, as_version=4)
        if given.settings:
            (cell,) = (cell for cell in notebook.cells if cell.id == SETTINGS)
            cell.source = given.settings.read_text(encoding="utf-8")
        execute(notebook, path.parent, given.kernel)
        out = path if given.out is None else given.out / path.name
        nbformat.write(notebook, out)
        print(f"{out}: {images(notebook)} figures, {out.stat().st_size:,} bytes", file=sys.stderr)


def execute(notebook: NotebookNode, folder: Path, kernel: str = "python3") -> None:
    """Run a notebook in place, in a kernel whose working directory is `folder`, and record the hash of its code."""
    client = NotebookClient(
        notebook, timeout=TIMEOUT_SECONDS, kernel_name=kernel, resources={"metadata": {"path": folder}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of the run
        _join_streams(cell)
    notebook.metadata.language_info = {"name": "python"}  # without the version of this machine's
    notebook.metadata[CODE_HASH] = code_hash(notebook)


def code_hash(notebook: NotebookNode) -> str:
    """SHA-256 of a notebook's code."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\n\n".join(code).encode()).hexdigest()


def images(notebook: NotebookNode) -> int:
    """How many figures a notebook shows."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def _join_streams(cell: NotebookNode) -> None:
    """One output in the place of several that follow each other on one stream, whose number depends on timing."""
    joined: list[NotebookNode] = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    if "outputs" in cell:
        cell.outputs = joined


if __name__ == "__main__":
    main()
