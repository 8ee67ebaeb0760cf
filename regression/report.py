"""A study -> one page for a colleague: what was asked, the answer, how sure, and every figure with the CSV behind it.

python regression/report.py --study studies/quickstart

Needs mixtures.csv and losses.csv. The page shows whatever else the study holds, and says what it lacks.
"""

from pathlib import Path

from proxymix.errors import InputError
from proxymix.files import replacing
from proxymix.progress import progress
from regression.reporting.report_figures import report_figures
from regression.reporting.report_html import report_html
from regression.reporting.study_results import StudyResults


def report(study: Path, out: Path) -> None:
    """Write a study's page, report/index.html, with every figure also as PNG and the CSV behind it.

    The page is one file that needs no network. Stages that have not run are named where they are missed.

    Args:
        study: Folder with mixtures.csv and losses.csv, and whatever else the stages have left there.
        out: Folder to write; an earlier report there is replaced, anything else is refused.

    Raises:
        InputError: If the study has no runs yet, files in it contradict each other, or `out` holds other things.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "index.html").is_file())):
        raise InputError(f"{out}: exists and is no earlier report; choose another folder or remove it")
    results = StudyResults(Path(study))
    figures = report_figures(results)
    with replacing(out) as folder, progress("report", 2 * len(figures), "figures") as bar:
        folder.mkdir()
        for figure in figures.values():
            figure.write(folder)
            bar.advance()
        (folder / "index.html").write_text(report_html(results, figures), encoding="utf-8")
        bar.advance(len(figures))


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(report)
