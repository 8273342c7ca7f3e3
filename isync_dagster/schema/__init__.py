"""The describe model, Salesforce types as Polars dtypes, describe snapshots."""
