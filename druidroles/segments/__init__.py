"""Ingestion: from input files to segment files."""
