"""`qmm fit | validate | test`: LightningCLI with one folder a run and an order of precedence that nobody has to look up."""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentParser
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from qmm.decoders.speaker import speaks
from qmm.errors import InputError
from qmm.suggestions import suggestions
from qmm.training import AtomicCheckpointIO, FeatureCaching, QuantumRun, RepeatableSteps, RunFolder, SampleLogger
from qmm.training.checkpoints import check_shapes, read_checkpoint

QUIET = (
    "`isinstance.treespec, LeafSpec",  # Lightning 2.6 with torch 2.14, at every save
    "Found .* in eval mode at the start of training",  # frozen encoders are, and are meant to be
    "Checkpoint directory .* exists and is not empty",  # of a run that is continued, or was begun anew where it had none
)
"""Warnings that tell a user of the command line nothing."""


class SuggestingParser(LightningArgumentParser):
    """Where a configuration names what does not exist, says what was probably meant."""

    def print_usage(self, file: Any = None) -> None:
        """A line, where the whole of it would hide the error above or below."""
        print(f"usage: {self.prog} --config FILE [--config OVERLAY ...] [flags]", file=file)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        parsers = [self, *getattr(self._subcommands_action, "_name_parser_map", {}).values()]
        options = {action.dest for parser in parsers for action in parser._actions}
        super().error("\n".join([message, *suggestions(message, options)]), ex)


class TrainingCLI(LightningCLI):
    """LightningCLI with one folder a run, and with the precedence checkpoint < configs in order < flags."""

    def __init__(self, args: ArgsType = None, prog: str = "qmm", run: bool = True):
        for message in QUIET:
            warnings.filterwarnings("ignore", message)
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=None,  # the run's folder gets the configuration before anything long begins
            trainer_defaults={"enable_model_summary": False},
            parser_class=SuggestingParser,
            parser_kwargs={"prog": prog},
            run=run,
            load_from_checkpoint_support=False,  # checkpoints describe themselves, see MultimodalTask.on_save_checkpoint
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"},
            "validate": {"model", "dataloaders", "datamodule", "weights_only"},
            "test": {"model", "dataloaders", "datamodule", "weights_only"},
        }

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights, order and augmentation.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        self.add_run_arguments(parser)
        parser.link_arguments("seed_everything", "data.init_args.seed")
        parser.link_arguments(
            "data",
            "model.init_args.model.decoder.init_args.classes",
            compute_fn=lambda data: getattr(data, "classes", None),
            apply_on="instantiate",
        )

    @staticmethod
    def add_run_arguments(parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", type=str, default="default", help="The run's name: its folder is RUNS/NAME.")
        parser.add_argument("--runs", type=str, default="runs", help="The folder of all runs.")
        parser.add_argument("--cache", type=str | None, default=None, help="Folder where features of frozen encoders are kept.")
        parser.add_argument(
            "--weights", type=str | None, default=None, help="A checkpoint to begin from, with a new optimiser and schedule."
        )
        parser.add_argument("--pictures", type=bool, default=True, help="Draw the circuit, learning curves and examples.")
        parser.add_argument(
            "--score_on", type=Literal["val", "test"] | None, default=None, help="Split after fit (default: test, else val)."
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """A checkpoint's own configuration goes in front of all others, so that every one of them overrides it."""
        given = list(sys.argv[1:] if args is None else args)
        flags = argparse.ArgumentParser(add_help=False)
        flags.add_argument("--ckpt_path")
        flags.add_argument("--weights")
        found = flags.parse_known_args(given)[0]
        path = found.weights if found.ckpt_path in (None, "null") else found.ckpt_path
        if path is None or path in ("last", "null"):
            self.config = parser.parse_args(given)
            return
        known = read_checkpoint(path).get("qmm", {})
        commands = 1 if self.subcommands() else 0
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(_as_config(known), file)
            file.flush()
            self.config = parser.parse_args([*given[:commands], "--config", file.name, *given[commands:]])

    def _parse_ckpt_path(self) -> None:
        """LightningCLI lets a checkpoint override configs and flags; `parse_arguments` does the reverse."""

    @property
    def folder(self) -> Path:
        return Path(self._get(self.config, "runs")) / self._get(self.config, "name")

    def before_instantiate_classes(self) -> None:
        """One folder a run: continued when asked to, else refused; never silently begun anew."""
        config, last = self.config[self.subcommand], self.folder / "checkpoints" / "last.ckpt"
        if config["ckpt_path"] == "last":
            if not last.is_file():
                raise InputError(f"there is no {last} to continue from; leave out `--ckpt_path last` to begin")
            config["ckpt_path"] = str(last)
        elif self.subcommand == "fit":
            if last.is_file() and os.environ.get("LOCAL_RANK", "0") == "0":
                raise InputError(
                    f"the run {self.folder} exists; continue it with `--ckpt_path last`, or choose another with `--name`"
                )
        elif config["ckpt_path"] is None:
            raise InputError(
                f"`qmm {self.subcommand}` needs a checkpoint: `--ckpt_path FILE`, or `--ckpt_path last` for {last}"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config[self.subcommand]
        self.folder.mkdir(parents=True, exist_ok=True)
        callbacks = [
            RepeatableSteps(config["seed_everything"]),
            QuantumRun(str(self.folder), self.split_to_score),
            RunFolder(str(self.folder), pictures=config["pictures"]),
        ]
        if config["cache"]:
            callbacks.append(FeatureCaching(config["cache"]))
        if speaks(self.model) and getattr(self.model, "samples", True):
            callbacks.append(SampleLogger(str(self.folder), pictures=config["pictures"]))
        plugins = self.trainer_setting("plugins") or []
        plugins = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        defaults: dict[str, Any] = {"default_root_dir": str(self.folder), "plugins": plugins}
        home = self.folder / "checkpoints" if self.subcommand == "fit" else Path(config["ckpt_path"]).parent
        # Not `save_last`, which Lightning 2.6 honours at the end of a training alone where no other checkpoint is saved.
        callbacks.append(ModelCheckpoint(home, filename="last", enable_version_counter=False, save_on_train_epoch_end=True))
        if self.subcommand == "fit":
            if self.trainer_setting("logger") is not False:
                callbacks.append(LearningRateMonitor())
            if self.trainer_setting("logger") is None:
                defaults["logger"] = [TensorBoardLogger(self.folder, name="tensorboard"), CSVLogger(self.folder, name="csv")]
            if os.environ.get("LOCAL_RANK", "0") == "0":
                self._dump_config()
                (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config_dump, sort_keys=False))
        else:
            defaults["logger"] = False
        self.trainer_defaults["callbacks"] = callbacks
        return super().instantiate_trainer(**defaults, **kwargs)

    def trainer_setting(self, name: str) -> Any:
        return self.config_init[self.subcommand]["trainer"].get(name)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def before_fit(self) -> None:
        """Begin from the weights of another run, if asked to."""
        path = self._get(self.config, "weights")
        if path is not None and self.config[self.subcommand]["ckpt_path"] is None:
            state = read_checkpoint(path)["state_dict"]
            check_shapes(self.model.state_dict(), state)
            self.model.load_state_dict(state)

    def split_to_score(self, data: Any) -> str | None:
        """Which split is evaluated after a training: test, where there is one, else val, unless `--score_on` says which."""
        wanted = self._get(self.config, "score_on")
        return next((s for s in ("test", "val") if s in getattr(data, "rows", ()) and wanted in (None, s)), None)

    def after_fit(self) -> None:
        """Evaluate the weights the training ended with: none are chosen by their score on the data they are scored on."""
        if self.trainer_setting("fast_dev_run") or self.trainer.interrupted:
            return
        split = self.split_to_score(self.datamodule)
        if split == "test":
            self.trainer.test(self.model, datamodule=self.datamodule)
        elif split == "val":
            self.trainer.validate(self.model, datamodule=self.datamodule)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RunFolder):
                print(*callback.lines, sep="\n")
        print(f"The run's folder: {self.folder}")


class ConfigurationCLI(TrainingCLI):
    """Reads what `qmm fit` reads, and makes nothing of it: `config` is the result. Neither data nor weights need be there."""

    def __init__(self, args: Sequence[str], prog: str):
        super().__init__(list(args), prog, run=False)

    def _set_seed(self) -> None:
        torch.manual_seed(self.config["seed_everything"])

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {}

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True, required=False)
        parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        self.add_run_arguments(parser)
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="A checkpoint; what it says of itself comes first."
        )

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def after_instantiate_classes(self) -> None:
        pass


def instantiate(kind: Any, config: Any) -> Any:
    """The object of this type that a parsed part of a configuration describes."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=kind)
    return parser.instantiate_classes(parser.parse_object({"part": config})).part


def _as_config(known: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of itself, in the form of a configuration file."""
    config = {section: known[key] for section, key in (("model", "task"), ("data", "data")) if known.get(key)}
    model = config.get("model", {}).get("init_args", {}).get("model", {}).get("init_args", {})
    model.get("decoder", {}).get("init_args", {}).pop("classes", None)  # the command line takes them from the data
    return config
