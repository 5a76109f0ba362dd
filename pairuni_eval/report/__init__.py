"""The report: HTML, Markdown and JSON from stored rows."""
