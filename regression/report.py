"""A study -> one page for a colleague: what was asked, the answer, how sure, and every figure with the CSV behind it.

python regression/report.py --study studies/quickstart

Needs mixtures.csv and losses.csv. The page shows whatever else the study holds, and says what it lacks.
"""

from pathlib import Path

from proxymix.errors import InputError
from proxymix.files import replacing
from proxymix.messages import some
from proxymix.plots.text import counted
from proxymix.progress import progress, say
from regression.reporting.report_figures import FIGURES, report_figures
from regression.reporting.report_html import report_html
from regression.reporting.sections.summary import headline
from regression.reporting.study_results import StudyResults

MARKER, PAGE = ".proxymix_report", "index.html"
FIGURE_FILES = {f"{name}.{ending}" for name in FIGURES for ending in ("png", "csv")}
"""The files that a report may hold beside its page; MARKER says that the folder is a report's."""


def report(study: Path, out: Path) -> None:
    """Write a study's page, report/index.html, with every figure also as PNG and the CSV behind it.

    The page is one file that needs no network. Stages that have not run are named where they are missed.

    Args:
        study: Folder with mixtures.csv and losses.csv, and whatever else the stages have left there.
        out: Folder to write; an earlier report there is replaced, whatever holds anything else is refused.

    Raises:
        InputError: If the study has no runs yet, files in it contradict each other, or `out` holds other things.
    """
    out = Path(out)
    _check_replaceable(out, is_own=out.resolve() == (Path(study) / "report").resolve())
    results = StudyResults(Path(study))
    figures = report_figures(results)
    with replacing(out) as folder, progress("report", 2 * len(figures), "figures") as bar:
        folder.mkdir()
        (folder / MARKER).write_text("Made by proxymix; the next report replaces this folder.\n", encoding="utf-8")
        for figure in figures.values():
            figure.write(folder)
            bar.advance()
        (folder / PAGE).write_text(report_html(results, figures), encoding="utf-8")
        bar.advance(len(figures))
    say(f"{headline(results)}.")
    say(f"Report: {out / PAGE} (open it in a browser), with {counted(len(figures), 'figure')} as PNG and CSV beside it")


def _check_replaceable(out: Path, is_own: bool) -> None:
    """Raise InputError unless a folder is absent or empty, or holds what a report has written and nothing else.

    Behind the marker it does not matter what the files hold, so that a damaged report is made again. Reports of older
    versions have no marker, and are known by their page, or by their place, the study's own report folder (`is_own`).
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise InputError(f"{out}: exists and is no folder; choose another place for the report")
    found = {path.name for path in out.iterdir() if path.is_file()}
    others = sorted({path.name for path in out.iterdir()} - {MARKER, PAGE, *FIGURE_FILES})
    if others:
        raise InputError(
            f"{out}: holds {some(others, 3)}, which no report has written and which would be lost; choose another folder, or "
            "move that away"
        )
    if not found or MARKER in found or is_own:
        return
    if PAGE not in found or "Made by proxymix" not in (out / PAGE).read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{out}: exists and is no earlier report; choose another folder, or move that away")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(report)
