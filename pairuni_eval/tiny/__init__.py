"""The tiny world: colored shapes on a grid, and a CPU-sized model that answers, draws and edits.

`world` draws and reads scenes; `prompts`, `questions` and `edits` speak about them in the schemas
of the big benchmarks; `janus` builds the model, its tokenizer and its processor. Import the
submodule that is needed: only `janus` loads torch.
"""
