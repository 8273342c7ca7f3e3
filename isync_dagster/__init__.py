"""Salesforce org-to-org data migration as Dagster assets."""

__version__ = "0.1.0"
