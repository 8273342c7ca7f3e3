"""The recipe: pydantic models, YAML loading with file and line in every error, JSON schema for editors."""

from isync_dagster.template.json_schema import json_schema
from isync_dagster.template.loader import load_template, load_templates, parse_template
from isync_dagster.template.models import Template

__all__ = ["Template", "json_schema", "load_template", "load_templates", "parse_template"]
