"""Models behind endpoints of the OpenAI form, and the script that makes one of any model."""
