"""`self:NAME`: whether a model sees what it drew; the benchmark over another one's pictures."""
