"""What a study's table says: a Markdown summary and a plot."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from qmm.study.plan import Study
from qmm.study.statistics import paired_difference


def summary(study: Study, table: pd.DataFrame, command: str) -> str:
    """Markdown: each arm's mean and spread, and the paired differences between the first arm and each other."""
    metric = study.metric
    lines = [
        f"# Study {study.name}",
        "",
        f"`{command}`, {metric} on the {'/'.join(sorted(table['split'].unique()))} split",
        "",
        f"| arm | {metric} (mean ± standard deviation) | seeds | fusion + decoder parameters | training, s |",
        "|---|---|---|---|---|",
    ]
    arms = [arm for arm in study.arms if arm in set(table["arm"])]
    for arm in arms:
        rows = table[table["arm"] == arm]
        spread = f" ± {rows[metric].std():.3f}" if len(rows) > 1 else ""
        parameters = int((rows["parameters_fusion"] + rows["parameters_decoder"]).iloc[0])
        lines.append(
            f"| {arm} | {rows[metric].mean():.3f}{spread} | {len(rows)} | {parameters:,} | {rows['fit_seconds'].mean():.0f} |"
        )
    first = arms[0]
    lines += [
        "",
        "Paired differences over seeds, 95 % interval (Student's t):",
        "",
        "| | difference | interval | verdict |",
        "|---|---|---|---|",
    ]
    wide = table.pivot(index="seed", columns="arm", values=metric)
    for arm in arms[1:]:
        both = wide[[first, arm]].dropna()
        if len(both):
            c = paired_difference(both[first].tolist(), both[arm].tolist())
            lines.append(f"| {first} - {arm} | {c.mean:+.3f} | [{c.low:+.3f}, {c.high:+.3f}], {c.n} seeds | {c.verdict} |")
    return "\n".join(lines) + "\n"


def plot(study: Study, table: pd.DataFrame) -> Figure:
    """Every cell a dot, every arm's mean a line."""
    arms = [arm for arm in study.arms if arm in set(table["arm"])]
    figure = Figure(figsize=(1.5 + 1.2 * len(arms), 4), layout="constrained")
    axes = figure.subplots()
    for i, arm in enumerate(arms):
        values = table.loc[table["arm"] == arm, study.metric]
        axes.scatter([i] * len(values), values, alpha=0.6)
        axes.hlines(values.mean(), i - 0.3, i + 0.3, color="black", linewidth=1)
    axes.set_xticks(range(len(arms)), arms, rotation=20 if len(arms) > 4 else 0)
    axes.set(ylabel=study.metric, title=study.name)
    axes.grid(axis="y", alpha=0.3)
    return figure


def write_report(study: Study, table: pd.DataFrame, folder: Path, command: str) -> str:
    """Writes summary.md and summary.png into the study's folder; returns the text."""
    text = summary(study, table, command)
    (folder / "summary.md").write_text(text)
    plot(study, table).savefig(folder / "summary.png", dpi=110)
    return text
