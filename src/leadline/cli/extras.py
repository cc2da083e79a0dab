"""Which extra brings an optional package, and what a verb says where one is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from leadline.errors import LeadlineError

PACKAGES = {
    "models": ("torch", "transformers", "accelerate", "peft", "huggingface_hub", "gguf"),
    "teacher": ("pydantic", "tenacity", "anthropic", "openai"),
    "tracking": ("tensorboard",),
    "cluster": ("ray",),
    "excel": ("fastexcel",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "monitor": ("alembic", "cryptography", "fastapi", "sqlalchemy", "uvicorn"),
    "postgres": ("psycopg",),
}
"""Extra -> the packages that it brings, by the name under which they are imported."""

NEEDED = {
    "demo": ("models", "teacher"),
    "demo --monitor": ("models", "monitor"),
    "train": ("models",),
    "prior": ("models",),
    "ask": ("models",),
    "selftrain": ("models", "teacher"),
    "score": ("models",),
    "export": ("export", "models"),
    "reader": ("models",),
    "label": ("teacher",),
    "monitor": ("models", "monitor"),
}
"""Verb -> the extras without which it does not go at all."""


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def missing_extra(error: ImportError, verb: str) -> LeadlineError | None:
    """What a verb says of an import that failed; None where no optional package is to blame.

    Every extra that the verb needs is named, so that one installation is enough.

    >>> print(missing_extra(ModuleNotFoundError(name="torch"), "demo").remedy)
    Install it with: pip install 'leadline[models,teacher]'
    """
    extras = NEEDED.get(verb, ())
    root = (error.name or "").partition(".")[0]
    bringing = {package: extra for extra, packages in PACKAGES.items() for package in packages}
    if root not in bringing:  # some packages say in words what they lack
        needed = (package for extra in extras for package in PACKAGES[extra])
        root = next((package for package in needed if not is_installed(package)), "")
    if not root:
        return None
    names = extras if bringing[root] in extras else (*extras, bringing[root])
    return LeadlineError(
        f"leadline {verb} needs the package {root}, which is not installed.",
        remedy=f"Install it with: pip install 'leadline[{','.join(names)}]'",
    )
