"""Endpoints of the OpenAI form: asking a few at a time, what failures mean, what is remembered."""
