"""The recipe: pydantic models, YAML loading with file and line in every error, JSON schema for editors."""
