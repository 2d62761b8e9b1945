"""What each process of torchrun does in the test: train the tiny run into the folder that is its argument."""

from __future__ import annotations

import sys
from pathlib import Path

from training.loop.trainer import Trainer
from training.pairs.phantom import PhantomPairs
from training.train import leave_processes, make_fabric

from ..conftest import tiny


def main() -> None:
    config = tiny()
    fabric = make_fabric("cpu")
    trainer = Trainer(config, PhantomPairs(config), [], Path(sys.argv[1]), fabric)
    trainer.run()
    if fabric.is_global_zero:
        sys.stdout.write(f"world {fabric.world_size}\n")
    leave_processes()


if __name__ == "__main__":
    main()
