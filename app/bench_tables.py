"""How `framewatch models bench` shows what it measured to a person."""

from app.model_bench import BenchReport
from app.tables import Column, print_hint, print_table


def print_bench(report: BenchReport) -> None:
    """Milliseconds per frame, then who is how many times as fast as whom, then average precision."""
    batches = list(dict.fromkeys(timing.batch for timing in report.timings))
    print_hint(", ".join(f"{key} {value}" for key, value in report.machine.items()))
    measured: dict[tuple[str, str, str], dict[int, float]] = {}
    for timing in report.timings:
        one = timing.contender
        row = measured.setdefault((one.subject, one.implementation, one.precision), {})
        row[timing.batch] = timing.ms_per_frame
    columns = (
        Column("ms per frame", flexible=True),
        Column("implementation", flexible=True),
        Column("precision"),
        *(Column(f"batch {batch}", digits=1) for batch in batches),
    )
    print_table(columns, [(*key, *(row[batch] for batch in batches)) for key, row in measured.items()])
    print()
    columns = (
        Column("times as fast", flexible=True),
        *(Column(f"batch {batch}", digits=2) for batch in batches),
    )
    rows = [(one.what, *(one.by_batch[batch] for batch in batches)) for one in report.ratios]
    print_table(columns, rows)
    if report.precisions:
        print()
        heads = (Column("average precision", flexible=True), Column("AP", digits=4), Column("AP50", digits=4))
        print_table(heads, [(one.what, one.ap, one.ap50) for one in report.precisions])
