"""Which extra of the package brings a module that some commands need and not all installations have."""

from __future__ import annotations

from cli.running import leaves

EXTRAS = {
    "starlette": "druid",
    "hypercorn": "druid",
    "httpx2": "druid",
    "duckdb": "druid",
    "tzdata": "druid",
    "psycopg": "postgres",
    "psycopg_pool": "postgres",
    "obstore": "s3",
    "cramjam": "snappy",
}
"""By the names under which modules are imported."""


def missing_extra(fault: BaseException) -> str:
    """One line, where all that is wrong is that modules of extras are not installed; else empty."""
    extras: dict[str, str] = {}
    for part in leaves(fault):
        module = (part.name or "").partition(".")[0] if isinstance(part, ModuleNotFoundError) else ""
        if module not in EXTRAS:
            return ""
        extras[EXTRAS[module]] = module
    return "; ".join(
        f"{module} is not installed; it comes with the extra {extra}: pip install 'coordserver[{extra}]'"
        for extra, module in extras.items()
    )
