"""The log of real jobs tells no patient: not the folder, not the file, not an identifier in either."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .conftest import Desk
from .pairs import write_pair

SECRETS = ("Mueller", "Müller", "Erika", "19490812", "PID0047110815")


def test_logs_progress_and_metrics_tell_no_names(desk: Callable[..., Desk], tmp_path: Path) -> None:
    one = desk(jobs="DeepLargeDeformRegLib.worker.jobs")
    folder = tmp_path / "Müller^Erika 19490812"
    folder.mkdir()
    entries = {}
    for name, path in write_pair(folder, size=24).items():
        telling = Path(path).with_name(f"PID0047110815_Mueller_{name}.nrrd")
        Path(path).rename(telling)
        entries[name] = str(telling)
    output = folder / "Mueller_warped.nrrd"
    settings = {"preset": "any", "iterations": 2}
    metrics = one.do(
        "register",
        120,
        **entries,
        settings=settings,
        output_volume=str(output),
        metrics=str(folder / "Mueller.json"),
    )
    assert output.is_file()
    jobs = {
        "missing": entries | {"fixed": str(folder / "Mueller_missing.nrrd")},
        "damaged": entries | {"moving": str(folder / "Mueller.json")},
        "no place": entries | {"output_volume": str(folder / "PID0047110815" / "w.nrrd")},
        "wrong type": entries | {"settings": {"iterations": "Mueller"}},
    }
    details = [one.error(one.submit("register", **payload), 60).detail for payload in jobs.values()]
    # The log comes through a pipe of its own, later perhaps than the answer.
    one.wait(lambda: "\n".join(one.log).count("register ended as") == 1 + len(jobs))
    told = "\n".join([str(metrics), *one.log, *details, *(event.message for event in one.progress)])
    assert "register ended as result" in told
    assert [secret for secret in SECRETS if secret in told] == []
