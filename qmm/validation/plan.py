"""What a cross-validation runs: for each arm, fold and seed, a training on the other folds that is scored on this one."""

from typing import Any, NamedTuple

from qmm.study.plan import Cell, Study


class FoldCell(Cell):
    """A training without one fold of the training split, which it is scored on; `choice` is the fold."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return f"{self.arm}-fold{self.choice}-seed{self.seed}"


class CrossValidation(NamedTuple):
    """Arms compared on the same folds of the training split; the test split plays no part, nor does val."""

    study: Study
    """Its arms, of which the others are compared with the first, its seeds and its metric."""
    folds: int
    """Parts of the training split: stratified where there are classes, and never tearing a group apart (`qmm.data.splits`)."""
    group: str | None = None
    """Column of what must stay together, in place of what the configuration says."""
    group_pattern: str | None = None
    """What names a group in that column."""

    def overlay(self, fold: int) -> dict[str, Any]:
        """What puts a fold in the place of val."""
        grouped = {} if self.group is None else {"group": self.group, "group_pattern": self.group_pattern}
        return {"data": {"init_args": {"fold": fold, "folds": self.folds, **grouped}}}

    def cells(self) -> list[Cell]:
        """Fold by fold, so that one cut short has whole folds."""
        return [
            FoldCell(arm, seed, (*configs, self.overlay(fold)), str(fold), fold)
            for seed in self.study.seeds
            for fold in range(self.folds)
            for arm, configs in self.study.arms.items()
        ]
