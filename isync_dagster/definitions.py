"""What Dagster loads: every template as assets, checks and jobs. No network, no heavy import."""

from __future__ import annotations

import warnings

import dagster as dg

from isync_dagster.assets.factory import definitions, load_plans
from isync_dagster.assets.settings import Settings

# Reviewed: `AssetSelection.all(include_sources=...)`, which Dagster itself calls when it parses a selection.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*`include_sources`.*")

settings = Settings.from_env()
defs = definitions(load_plans(settings), settings)
