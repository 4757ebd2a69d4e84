"""Dimension specs: which column a query groups by, under which name, as which type."""

from __future__ import annotations

from typing import Any

import attrs

from druidroles.query.errors import BadQueryError, UnsupportedQueryError
from druidroles.query.fields import Fields

# Druid's class for a dimension without a type, which its Router writes as the type. It has no output type of its own:
# what is said of one is passed over, and values are strings.
LEGACY = "LegacyDimensionSpec"
OUTPUT_TYPES = ("STRING", "LONG", "DOUBLE", "FLOAT")


@attrs.frozen
class DimensionSpec:
    """A column to group by (DefaultDimensionSpec). The values of the result have the output type, STRING by default
    also where the column is numeric, as in Druid.
    """

    dimension: str
    output_name: str
    output_type: str = "STRING"


def parse_dimension(value: Any, path: str) -> DimensionSpec:
    """Read a name, a spec of type default, or one of the forms that Druid's Router writes for these."""
    if isinstance(value, str):
        return DimensionSpec(value, value)
    if value is None:
        raise BadQueryError(f"{path} is missing")
    fields = Fields.of(value, path)
    kind = fields.opt_str("type") or LEGACY
    if kind not in ("default", "extraction", LEGACY):
        raise UnsupportedQueryError(f"{path}.type: dimension spec {kind!r} is not supported; there is default")
    if kind == "extraction" and not fields.keeps_values():
        raise UnsupportedQueryError(f"{path}.type: dimension spec 'extraction' is supported with identity alone")
    name = fields.need_str("dimension")
    output_type = (fields.opt_str("outputType") or "STRING").upper()
    if output_type not in OUTPUT_TYPES:
        raise UnsupportedQueryError(
            f"{path}.outputType {output_type!r} is not supported; there are {', '.join(OUTPUT_TYPES)}"
        )
    return DimensionSpec(name, fields.opt_str("outputName") or name, "STRING" if kind == LEGACY else output_type)
