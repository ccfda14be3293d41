"""The command line: `agglo COMMAND …`.

Exit status 0 is done, 2 wrong input (one sentence on stderr), 1 anything else.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Protocol

from agglo.json_file import check_json
from agglo.progress import show_messages
from analysis.input_error import InputError

COMMANDS = {
    ("demo",): "the whole way on a phantom volume made here; ends with a table and a report",
    ("boundaries", "train"): "train a boundary model, with its folds",
    ("boundaries", "predict"): "predict a boundary map and affinities",
    ("superpixels",): "cut a boundary map into watershed superpixels",
    ("texture",): "write channels of texture, responses to a dictionary learned without labels",
    ("masks",): "write channels of masks, how the object of each voxel lies around it",
    ("train",): "train the merge policy by on-policy rollouts on Ray",
    ("search",): "train several configurations of it with several seeds; rank them, keep the best",
    ("committee",): "join policies into one whose logit is the mean of theirs",
    ("segment",): "apply a merge policy; write segmentation and merge tree",
    ("cut",): "cut a merge tree at another threshold; write that segmentation",
    ("plan",): "say what segmenting a larger volume in blocks will take, from a short run",
    ("evaluate",): "measure a segmentation or a boundary map against labels",
    ("export",): "write a volume in Neuroglancer's precomputed format",
    ("replay",): "record an episode for the notebook",
}


class Command(Protocol):
    """A command: a dataclass of its arguments that can be run."""

    @property
    def json(self) -> Path | None:
        """Where its results go as JSON."""
        ...

    def run(self) -> None:
        """Do it."""
        ...


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run the command, and exit."""
    words = sys.argv[1:] if arguments is None else arguments
    show_messages()
    try:
        command = _parse(words)
        if command is not None:
            if command.json is not None:
                check_json(command.json)
            command.run()
    except InputError as error:
        print(f"agglo: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("agglo: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(1)


def _parse(words: list[str]) -> Command | None:
    """Find the command by its leading words and parse the rest; None after the overview."""
    for name in COMMANDS:
        if tuple(words[: len(name)]) == name:
            module = importlib.import_module(f"agglo.commands.{'_'.join(name)}")
            return _arguments(module.Command, name, words[len(name) :])
    if not words or words[0] in ("-h", "--help", "help"):
        _print_overview()
        return None
    raise InputError(
        f"{' '.join(words[:2])!r} is no command; there are "
        f"{', '.join(' '.join(name) for name in COMMANDS)}."
    )


def _arguments(command_class: type, name: tuple[str, ...], words: list[str]) -> Command:
    """Parse the arguments of a command; wrong ones end with status 2."""
    import tyro

    return tyro.cli(
        command_class,
        prog=f"agglo {' '.join(name)}",
        args=words,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def _print_overview() -> None:
    """Print the commands."""
    width = max(len(" ".join(name)) for name in COMMANDS)
    print("usage: agglo COMMAND [arguments]; agglo COMMAND --help tells more\n")
    for name, does in COMMANDS.items():
        print(f"  {' '.join(name):<{width}}  {does}")
    print(
        "\nA volume is PATH[:DATASET], z,y,x: train.h5:image, a Zarr or OME-Zarr, a TIFF stack, a\n"
        "folder of PNG or TIFF slices, a .npy; train.h5:image[0:80] is its first 80 sections. The\n"
        "path of a Zarr that is read may be a URL: s3://…, gs://…, https://…."
    )


if __name__ == "__main__":
    main()
