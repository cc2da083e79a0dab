"""`leadline export`: a run's model as files that other programs run.

Two targets: a graph for ONNX Runtime (`export_onnx`) and merged weights for vLLM
(`export_vllm`). Both are loaded again and compared with Leadline's own numbers on Leadline's
own statements (see `anchors`) before the manifest is written, so a finished export has been
checked. What cannot be expressed in a target is refused with the reason.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from leadline.about import NOTICE
from leadline.artefact import read_manifest, sha256, write_manifest
from leadline.errors import LeadlineError
from leadline.export.config import ExportConfig
from leadline.output import new_directory
from leadline.phq9.distribution import OWN_ERROR
from leadline.runs.checkpoint import load_ensemble, run_identity, run_training
from leadline.runs.config import INTERVAL
from leadline.runs.ensemble import Ensemble
from leadline.runs.manifest import saw_no_label

MODEL_JSON = "checkpoint/model.json"

STRANGERS = (
    "The models are for people whom the run was not trained on. Somebody of the training cohort "
    "was seen by most of them: estimate such people with leadline score, which leaves those out."
)


def export_run(
    run: Path | str,
    out: Path | str,
    config: ExportConfig | None = None,
    *,
    overwrite: bool = False,
    home: Path | None = None,
) -> dict[str, Any]:
    """Write the export directory and return its manifest.

    Args:
        run: a finished run.
        out: the directory to write; it appears whole or not at all.
        config: the target and its options.
        overwrite: replace an earlier export.
        home: where readers are kept.

    Raises:
        LeadlineError: the target cannot express the run, a package is missing, or the export
            does not give Leadline's numbers.

    >>> from leadline import export_run
    >>> manifest = export_run("run", "exported")
    >>> manifest["target"]
    'onnx'
    """
    run, out, config = Path(run), Path(out), config or ExportConfig()
    manifest = read_manifest(run, "run")
    if saw_no_label(run):
        raise LeadlineError(
            "This run has seen no label: what leaves Leadline would not say so any more.",
            remedy="Export a run of leadline train, such as one with --prior.",
            file=run,
        )
    train, window = run_training(run)
    with new_directory(out, "export", [run], overwrite=overwrite) as scratch:
        if config.to == "onnx":
            from leadline.export.to_onnx import check_expressible, export_onnx

            check_expressible(train)
            ensemble, _ = load_ensemble(run, home=home)
            description = {**export_onnx(ensemble, scratch), "interval": interval(ensemble)}
        else:
            from leadline.export.to_vllm import export_vllm

            description = export_vllm(run, scratch, train, config, home=home)
        files = sorted(path for path in scratch.rglob("*") if path.is_file())
        return write_manifest(
            scratch,
            kind="export",
            command="export",
            settings=asdict(config),
            inputs={MODEL_JSON: sha256(run / MODEL_JSON)},
            notice=NOTICE,
            simulated=bool(manifest.get("simulated", False)),
            model_id=run_identity(run),
            window=asdict(window),
            for_whom=STRANGERS,
            **description,
            files={str(path.relative_to(scratch)): sha256(path) for path in files},
        )


def interval(ensemble: Ensemble) -> dict[str, float]:
    """What an interval covers, the mass that it takes, and its least half width in points."""
    return {
        "covers": INTERVAL,
        "central_mass": ensemble.width(INTERVAL),
        "least_half_width": OWN_ERROR,
    }
